"""A check that a denoiser denoises, and if not, of which other reading of its network does.

A network can be taken for what it is not: one that predicts epsilon for one of x_0, images in [0, 1] for [-1, 1],
time for running the other way. Nothing fails then; samples are merely bad. :func:`check` adds noise to images, lets
the model remove it, and compares what is left with what the best linear filter for white data leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from elucidiff.denoisers.adapters import AdaptedDenoiser, InUnits, Prediction, Time, TrigTime
from elucidiff.denoisers.base import DenoiserLike, DenoiserModule, as_denoiser
from elucidiff.denoisers.conditions import Conditions
from elucidiff.design.values import as_tensor
from elucidiff.sampling.checks import NotFiniteError
from elucidiff.sampling.sampler import Sampler

LEVELS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Noise levels at which to look, in standard deviations of the data."""

_FITS = 1.1
_FITS_OWN = 0.9
_BETTER = 0.93
_ALIKE = 1.05
_SIMPLER = 1.05
_STEPS = 16
_UNITS: tuple[tuple[str, float, float], ...] = (
    ("images in [-1, 1]", 1.0, 0.0),
    ("images in [0, 1]", 2.0, -1.0),
    ("images in [-0.5, 0.5]", 2.0, 0.0),
    ("images in [0, 255]", 1 / 127.5, -1.0),
    ("latents times 0.18215", 1 / 0.18215, 0.0),
    ("latents times 0.13025", 1 / 0.13025, 0.0),
)


@dataclass(frozen=True)
class Reading:
    """A way to read a network, and how well it denoises.

    Attributes:
        name: in words, such as ``predicts v, images in [0, 1]``.
        errors: at each noise level, root mean square of D - y, as a part of what the best linear filter for white
            data of the same standard deviation leaves, sigma std / sqrt(sigma^2 + std^2). A denoiser of images is
            below 1; infinite where it fails.
        changes: in how many ways it differs from how the model is given; of readings that are as good, as they are
            at high noise, the one of fewer is meant.
    """

    name: str
    errors: tuple[float, ...]
    changes: int = 0

    @property
    def score(self) -> float:
        """Geometric mean of the errors."""
        return math.exp(sum(math.log(max(error, 1e-3)) for error in self.errors) / len(self.errors))


@dataclass(frozen=True)
class Check:
    """The findings of a check.

    Attributes:
        sigmas: the noise levels.
        given: how the model is read, and its errors.
        others: other readings of the same network, the best one first.
        data: what the noise was added to.
        of_samples: whether that were samples of each reading's own.
    """

    sigmas: tuple[float, ...]
    given: Reading
    others: tuple[Reading, ...]
    data: str
    of_samples: bool = False

    @property
    def better(self) -> Reading | None:
        """A reading that fits, and better, at most noise levels if on the same images; None if there is none.

        Of all functions of x the expected clean image is nearest to the clean one at every noise level, so another
        reading cannot be nearer than the right one, but for what the network has not learned.
        """
        for other in self.others[:1]:
            pairs = list(zip(other.errors, self.given.errors, strict=True))
            nearer = 2 * sum(one < another * _ALIKE for one, another in pairs) > len(pairs)
            # Samples of their own flatter readings that draw what is easy to find again.
            enough = _FITS_OWN if self.of_samples else _FITS
            if (nearer or self.of_samples) and other.score < min(_BETTER * self.given.score, enough):
                return other
        return None

    @property
    def fits(self) -> bool:
        """True if the model denoises as it is read."""
        return self.better is None and self.given.score < _FITS

    def __str__(self) -> str:
        if self.fits:
            return f"it denoises {self.data}: {_told(self.given, self.sigmas)}"
        found = f"it does not denoise {self.data} as it is read: {_told(self.given, self.sigmas)}"
        if self.better is not None:
            return f"{found}. Read otherwise it does: {_told(self.better, self.sigmas)}"
        if not self.others:
            return found
        return f"{found}. Nor does another reading that is known; the nearest is {_told(self.others[0], self.sigmas)}"


@torch.no_grad()
def check(
    denoiser: DenoiserLike,
    images: Tensor | None = None,
    labels: Conditions | None = None,
    *,
    count: int = 16,
    seed: int = 0,
    enough: float = 0.0,
) -> Check:
    """Add noise, let the model remove it, and tell whether it does, or which other reading of its network would.

    Other readings are those of an :class:`.AdaptedDenoiser`: another prediction, the opposite sign, time running the
    other way, images in other units. Without images the model's own samples under each reading take their place:
    what a denoiser draws, it must find again under noise. The units of the data cannot be told from them.

    Args:
        denoiser: the model.
        images: clean samples (B, C, *spatial) in the units that the model is meant to have; None for its own samples.
        labels: of the images, or of the samples.
        count: how many images to look at, or to draw.
        seed: of the noise.
        enough: a score of the model as it is given below which nothing else is tried.

    Raises:
        ValueError: the images are none that the model can take, or it does not say what its samples are.

    >>> import elucidiff as ed
    >>> images = torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    >>> found = check(ed.ideal.DataPosterior(images), images)
    >>> found.fits, found.given.score < 0.5
    (True, True)
    """
    model = as_denoiser(denoiser).eval()
    if images is not None and tuple(images.shape[1:]) != model.sample_shape and model.sample_shape:
        raise ValueError(f"images have shape {tuple(images.shape)}, but the model makes {model.sample_shape}")
    given = "as given" if not isinstance(model, AdaptedDenoiser | InUnits) else _name_of(model)
    std = 0.5 if images is None else float(images.double().std())
    if not 0 < std < math.inf:
        raise ValueError("the images are all alike, or not finite: nothing can be told from them")
    sigmas = tuple(min(max(level * std, model.sigma_min), model.sigma_max) for level in LEVELS)
    found: list[Reading] = []
    for name, changes, reading in [(given, 0, model), *_readings(model, other_units=images is not None)]:
        try:
            if images is not None:
                errors = _errors(reading, images[:count], labels, sigmas, seed)
            else:
                errors = _errors_of_samples(reading, sigmas, count, seed, labels)
        except Exception:  # a network can fail in any way at times that are not its own
            if not found:
                raise
            errors = tuple(math.inf for _ in sigmas)
        found.append(Reading(name, errors, changes))
        if found[0].score < enough:
            break
    others = sorted(
        (each for each in found[1:] if each.name != given), key=lambda each: each.score * _SIMPLER**each.changes
    )
    what = "its own samples" if images is None else f"{min(count, len(images))} images"
    return Check(sigmas, found[0], tuple(others), what, images is None)


def _told(reading: Reading, sigmas: tuple[float, ...]) -> str:
    numbers = ", ".join(f"{e:.2g} at {s:.2g}" for e, s in zip(reading.errors, sigmas, strict=True))
    return f"{reading.name}, errors as parts of a linear filter's by noise level: {numbers}"


def _errors(
    denoiser: DenoiserModule,
    images: Tensor,
    labels: Conditions | None,
    sigmas: tuple[float, ...],
    seed: int,
    *,
    own: bool = False,
) -> tuple[float, ...]:
    """Those of :class:`Reading`; infinite where the model fails or answers with what is not finite.

    Of samples of its own (``own``) the standard deviation is that about each value's mean over all samples, so that
    a model that draws the same again and again finds it again in vain.
    """
    clean = images.to(denoiser.device).double()
    std = float(clean.var(0).mean().sqrt()) if own else float(clean.std())
    generator = torch.Generator().manual_seed(seed)
    errors = []
    for sigma in sigmas:
        noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64).to(clean.device)
        # As samplers do: only the noise levels that the model knows.
        within = min(max(sigma, denoiser.sigma_min), denoiser.sigma_max)
        level = float(torch.as_tensor(denoiser.round_sigma(within)))
        x = (clean + level * noise).float()
        given = () if labels is None else (labels,)
        denoised = denoiser(x, torch.full((len(x),), level, device=x.device), *given).double()
        left = float((denoised - clean).square().mean().sqrt())
        linear = level * std / math.hypot(level, std)
        errors.append(left / linear if math.isfinite(left) and linear > 0 else math.inf)
    return tuple(errors)


def _errors_of_samples(
    denoiser: DenoiserModule, sigmas: tuple[float, ...], count: int, seed: int, labels: Conditions | None
) -> tuple[float, ...]:
    try:
        drawn = Sampler.usual(denoiser, n=_STEPS).run(
            denoiser, range(seed, seed + count), labels, any_class=True, batch_size=count
        )
    except NotFiniteError:  # it diverged
        return tuple(math.inf for _ in sigmas)
    spread = float(drawn.x.var(0).mean().sqrt())
    if not 0.02 < spread < 1e3:
        return tuple(math.inf for _ in sigmas)  # nothing but a mean, or no data at all
    return _errors(denoiser, drawn.x, drawn.labels, sigmas, seed, own=True)


def _name_of(model: AdaptedDenoiser | InUnits) -> str:
    inner, units = _apart(model)
    return _name(inner.predicts, False, False, _called(*units))


def _apart(model: AdaptedDenoiser | InUnits) -> tuple[AdaptedDenoiser, tuple[float, float]]:
    """A denoiser in the units of its network, and how images are taken to these and back: factor and offset."""
    if isinstance(model, InUnits):
        return model.denoiser, (model.factor, model.offset)
    return model, (1.0, 0.0)


def _called(factor: float, offset: float) -> str:
    for name, known, begun in _UNITS:
        if math.isclose(factor, known) and math.isclose(offset, begun, abs_tol=1e-9):
            return name
    return f"data that are {factor:g} y + {offset:g}"


def _name(predicts: str, negated: bool, reversed_: bool, units: str) -> str:
    sign = "minus " if negated else ""
    return f"predicts {sign}{predicts}{', time the other way' if reversed_ else ''}, {units}"


def _readings(model: DenoiserModule, *, other_units: bool) -> Iterator[tuple[str, int, DenoiserModule]]:
    """Other readings of the model's network, those that ask it the same one after the other."""
    if not isinstance(model, AdaptedDenoiser | InUnits):
        return
    inner, own = _apart(model)
    units = [own, *((factor, offset) for _, factor, offset in _UNITS)] if other_units else [own]
    network = _Remembering(inner.network)
    for factor, offset in dict.fromkeys(units):
        for reversed_ in (False, True):
            time: Time = _Reversed(inner.time) if reversed_ else inner.time
            for predicts in get_args(Prediction):
                if (predicts == "trigflow") != isinstance(inner.time, TrigTime) and predicts == "trigflow":
                    continue
                for negated in (False, True):
                    read = AdaptedDenoiser(
                        _Negated(network) if negated else network,
                        predicts,
                        time,
                        label_dim=inner.label_dim,
                        dtype=inner.network_dtype,
                        any_labels=inner.any_labels,
                        sample_shape=inner.sample_shape,
                    )
                    read.facts = inner.facts
                    name = _name(predicts, negated, reversed_, _called(factor, offset))
                    changes = (predicts != inner.predicts) + negated + reversed_ + ((factor, offset) != own)
                    yield name, changes, read if (factor, offset) == (1.0, 0.0) else InUnits(read, factor, offset)


class _Remembering(nn.Module):
    """A network that is asked once where it is asked the same twice in a row."""

    def __init__(self, network: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network = network
        self._asked: tuple[Any, ...] = ()
        self._answer: Tensor | None = None

    def forward(self, *asked: Any) -> Tensor:
        alike = len(asked) == len(self._asked) and all(map(_equal, asked, self._asked))
        if self._answer is None or not alike:
            self._asked, self._answer = asked, self.network(*asked)
        return self._answer


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    return one is other


class _Negated(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *asked: Any) -> Tensor:
        answer: Tensor = self.network(*asked)
        return -answer


@dataclass(frozen=True)
class _Reversed:
    """A time that the network is told as if it ran from the other end of what the model's time spans."""

    time: Time

    @property
    def sigma_min(self) -> float:
        return self.time.sigma_min

    @property
    def sigma_max(self) -> float:
        return self.time.sigma_max

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        return self.time.round_sigma(as_tensor(sigma))

    def at(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        told, scale = self.time.at(sigma)
        ends, _ = self.time.at(torch.tensor([self.sigma_min, self.sigma_max], dtype=torch.float64))
        return (ends.sum().to(told) - told), scale


__all__ = ["LEVELS", "Check", "Reading", "check"]
