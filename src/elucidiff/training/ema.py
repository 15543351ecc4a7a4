"""Averages of a network's weights, which sample far better than these: one as training goes, and others after it.

Those of any width, chosen after the training from snapshots that a run leaves, are after Karras et al. 2024
(arXiv 2312.02696), Sec. 3.

The power-function average of weights theta at time t (any unit; here images) is

    average_gamma(t) = integral_0^t tau^gamma theta(tau) dtau / integral_0^t tau^gamma dtau.

Its profile p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1) keeps its shape relative to t, so its width is stated as
sigma_rel, the standard deviation of p over t. From snapshots of averages of two widths, taken along the way, any
other average is approximated by the combination whose profile comes closest in least squares. Equation numbers here
are of that paper.
"""

from __future__ import annotations

import copy
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from elucidiff.denoisers import model_folder
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.files import write_whole
from elucidiff.training.processes import own_part


def ema_beta(images_seen: int, batch_size: int, half_life_images: float, rampup_ratio: float | None) -> float:
    """The factor of the old average in one update: ``beta = 0.5^(batch / half-life)``, Karras et al. 2022, App. F.

    Early in training the half-life is shortened to ``rampup_ratio * images_seen``, so that the random weights of the
    start are forgotten. The first update has ``images_seen = 0`` and so beta = 0: the average becomes the weights.

    Args:
        images_seen: training images before this update.
        batch_size: images in this update.
        half_life_images: images after which a weight's share in the average has halved.
        rampup_ratio: longest half-life as a share of the images seen; None for no ramp-up.

    Returns:
        beta in [0, 1): ``average <- beta * average + (1 - beta) * weights``.

    >>> import elucidiff as ed
    >>> round(ed.training.ema_beta(10**9, 512, 500_000, 0.05), 6)
    0.99929
    """
    half_life = half_life_images if rampup_ratio is None else min(half_life_images, images_seen * rampup_ratio)
    return float(0.5 ** (batch_size / max(half_life, 1e-8)))


class AverageProfile(Protocol):
    """The memory of an average: what one update leaves of the old one."""

    def beta(self, images_seen: int, batch_size: int) -> float:
        """The old average's factor in an update made ``images_seen`` images into the training."""


@dataclass(frozen=True)
class HalfLife:
    """The paper's average: exponential, with a ramp-up; see :func:`ema_beta`."""

    images: float
    rampup_ratio: float | None = 0.05

    def beta(self, images_seen: int, batch_size: int) -> float:
        """:func:`ema_beta` with this half-life."""
        return ema_beta(images_seen, batch_size, self.images, self.rampup_ratio)


class WeightAverage:
    """A network whose parameters are a moving average of another's.

    Only parameters are averaged. Buffers (filters, frequencies, statistics of batches) are taken as they are.

    Args:
        network: the network to follow; the average starts as a copy of it.
        profile: how much the average remembers.

    Attributes:
        network: the network with the averaged weights, in evaluation mode.
        beta: the old average's factor in the last update; 0 before the first.
    """

    def __init__(self, network: nn.Module, profile: AverageProfile) -> None:
        self.profile = profile
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.beta = 0.0
        self._followed = network

    def update(self, images_seen: int, batch_size: int) -> None:
        """Move the average towards the followed network's present weights.

        Args:
            images_seen: training images before this update.
            batch_size: images in this update.
        """
        self.beta = self.profile.beta(images_seen, batch_size)
        averages, followed = _values(self.network), _values(self._followed)
        torch._foreach_lerp_(averages, followed, 1.0 - self.beta)
        for mine, theirs in zip(self.network.buffers(), self._followed.buffers(), strict=True):
            mine.copy_(theirs)


class EMA(WeightAverage):
    """The paper's average, with :func:`ema_beta`: exponential, with a ramp-up.

    ::

        >>> network = torch.nn.Linear(2, 2)
        >>> ema = EMA(network, half_life_images=1000)
        >>> ema.update(images_seen=0, batch_size=64)  # after every optimiser step
        >>> torch.equal(ema.network.weight, network.weight)
        True

    Args:
        network: the network to follow; the average starts as a copy of it.
        half_life_images: images after which a weight's share in the average has halved.
        rampup_ratio: longest half-life as a share of the images seen; None for no ramp-up.
    """

    def __init__(
        self, network: nn.Module, half_life_images: float = 500e3, rampup_ratio: float | None = 0.05
    ) -> None:
        super().__init__(network, HalfLife(half_life_images, rampup_ratio))


def _values(network: nn.Module) -> list[Tensor]:
    return [own_part(parameter.detach()) for parameter in network.parameters()]


WELL_FITTED = 0.1
"""A :func:`fit_error` above this is worth a warning: the average of a random walk is then off by 4 to 9% of its
distance from the last weights."""
_WIDEST = 12**-0.5  # gamma = 0: all times weigh the same
_NARROWEST = 1e-6


def gamma_of_width(sigma_rel: float) -> float:
    """The exponent gamma of the profile with relative width ``sigma_rel``, in [1e-6, 0.2887].

    Inverts ``sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3))`` (Eq. 123), the variance of the
    Beta(gamma + 1, 1) distribution: the largest real root of a cubic (Eq. 126).

    Raises:
        ValueError: no profile is that wide, or an average of this width is the last weights alone.
    """
    if not _NARROWEST <= sigma_rel <= _WIDEST:
        raise ValueError(f"the width of an average is {sigma_rel}, but must be in (0, 0.288): 0.05 to 0.15 is usual")
    inverse = sigma_rel**-2
    roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])
    return float(roots.real[np.abs(roots.imag) < 1e-9 * np.abs(roots)].max())


@dataclass(frozen=True)
class PowerFunction:
    """The power-function average of relative width ``sigma_rel``, to be updated a step at a time."""

    sigma_rel: float

    def beta(self, images_seen: int, batch_size: int) -> float:
        """``(1 - batch / t)^(gamma + 1)``, where t counts this batch too: how little of the integral is older."""
        return float((images_seen / (images_seen + batch_size)) ** (gamma_of_width(self.sigma_rel) + 1))


@dataclass(frozen=True)
class Profile:
    """The profile of an average: its width ``sigma_rel`` and the time ``images_seen`` at which it was taken."""

    sigma_rel: float
    images_seen: int


def combination(snapshots: Sequence[Profile], wanted: Profile, *, with_later: bool = False) -> NDArray[np.float64]:
    """Coefficients of the snapshots in the combination that comes closest to ``wanted`` (Eq. 151, Algorithm 3).

    The least-squares solution of ``sum_i c_i p_i = p``: the matrix and the right-hand side hold inner products of
    profiles, which have a closed form. The solution is then divided by its sum, so that the combination is an
    average: weights are far from 0, and coefficients that sum to 0.9 would make every one of them 10% too small. How
    close the combination comes is told by :func:`fit_error`.

    Args:
        snapshots: averages that were kept, of one or more widths, in any order.
        wanted: the average that is wanted; any width, and a time not past the last snapshot.
        with_later: use snapshots that were taken after the wanted time, too. They have seen training that the wanted
            average has not, so they are left out (coefficient 0) by default.

    Returns:
        The coefficients, float64 ``(len(snapshots),)``, in the order of the snapshots. Their sum is 1.

    Raises:
        ValueError: there are no snapshots, the wanted time is past or before all of them, a width is impossible, or
            the snapshots have so little in common with the wanted average that nothing can be made of them.
    """
    times = [snapshot.images_seen for snapshot in snapshots]
    if not times or wanted.images_seen > max(times):
        raise ValueError(f"no snapshot was taken as late as {wanted.images_seen} images")
    if wanted.images_seen <= 0 or (not with_later and wanted.images_seen < min(times)):
        raise ValueError(f"the first snapshot was taken at {min(times)} images, and {wanted.images_seen} are wanted")
    used = np.array([with_later or time <= wanted.images_seen for time in times])
    gram, target, _ = _inner_products([one for one, use in zip(snapshots, used, strict=True) if use], wanted)
    # Profiles of unit length: their inner products do not grow with the unit of time or fall with its course.
    lengths = np.sqrt(np.diag(gram))
    fitted = np.linalg.lstsq(gram / np.outer(lengths, lengths), target / lengths, rcond=None)[0] / lengths
    total = fitted.sum()
    if not total > 1e-6:
        raise ValueError(
            f"the snapshots say nothing about an average of width {wanted.sigma_rel} at {wanted.images_seen} images"
        )
    coefficients = np.zeros(len(snapshots))
    coefficients[used] = fitted / total
    return coefficients


def fit_error(
    snapshots: Sequence[Profile], coefficients: Sequence[float] | NDArray[np.float64], wanted: Profile
) -> float:
    """The relative L2 distance ``|p - sum_i c_i p_i| / |p|`` of a combination's profile from the wanted one.

    0 is a perfect fit, and 1 is as far as no average at all. Accurate to about 1e-7.

    Args:
        snapshots: the averages that were kept.
        coefficients: how much of each is taken, as :func:`combination` returns it.
        wanted: the average that is wanted.

    Raises:
        ValueError: a width is impossible, or there are not as many coefficients as snapshots.
    """
    c = np.asarray(coefficients, dtype=np.float64)
    if c.shape != (len(snapshots),):
        raise ValueError(f"there are {len(snapshots)} snapshots, but coefficients of the shape {c.shape}")
    gram, target, square = _inner_products(snapshots, wanted)
    distance = float(c @ gram @ c - 2 * c @ target) + square
    return math.sqrt(max(distance, 0.0) / square)


def _inner_products(
    snapshots: Sequence[Profile], wanted: Profile
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Of the snapshots' profiles with each other, with the wanted one, and of the wanted one with itself."""
    gammas = np.array([gamma_of_width(one.sigma_rel) for one in (*snapshots, wanted)])
    times = np.array([one.images_seen for one in (*snapshots, wanted)], dtype=np.float64)
    later = times[:, None] > times
    exponent = np.where(later, gammas[:, None], gammas)  # the later one's: of it, the part up to the earlier end
    first, last = np.minimum(times[:, None], times), np.maximum(times[:, None], times)
    factor = (gammas[:, None] + 1) * (gammas + 1) / (gammas[:, None] + gammas + 1)
    products = factor * (first / last) ** exponent / last
    return products[:-1, :-1], products[:-1, -1], float(products[-1, -1])


_NAME = re.compile(r"(\d+)-(\d*\.?\d+(?:e-\d+)?)\.safetensors")


def save_snapshot(run_dir: Path, average: WeightAverage, weights: Mapping[str, Tensor], images_seen: int) -> None:
    """Write the parameters of a power-function average into ``run_dir/averages``; other averages are passed over.

    Args:
        run_dir: the run folder.
        average: the average.
        weights: what its network holds, whole, by name.
        images_seen: training images so far.

    Raises:
        OSError: the file cannot be written.
    """
    if not isinstance(average.profile, PowerFunction):
        return
    parameters = {name: weights[name].contiguous() for name, _ in average.network.named_parameters()}

    def write(path: Path) -> None:
        try:
            safetensors.torch.save_file(parameters, path)
        except SafetensorError as error:  # which is how safetensors reports a full disk
            raise OSError(f"cannot write {path.parent}: {error}") from None

    write_whole(run_dir / "averages" / f"{images_seen:012d}-{average.profile.sigma_rel!r}.safetensors", write)


def reconstruct(
    run_dir: str | os.PathLike[str],
    sigma_rel: float,
    images_seen: int | None = None,
    *,
    with_later: bool = False,
    network: nn.Module | None = None,
) -> Denoiser:
    """The model whose weights are averaged with relative width ``sigma_rel``, as if that had been done in training.

    It is the best that the snapshots give. How good that is, ``facts["provenance"]["ema_fit_error"]`` of the model
    tells, the relative distance of the profile that was reached from the wanted one
    (:func:`fit_error`): above about 0.1, more snapshots or other widths are needed.

    Args:
        run_dir: a run folder, trained with ``ema_widths``.
        sigma_rel: width of the average, as a share of the training until ``images_seen``; 0.05 to 0.15 is usual.
        images_seen: the training time at which the average is wanted; None for the last snapshot's.
        with_later: use snapshots from after that time, too. Between snapshots they make the fit closer, with weights
            that the wanted average has not seen.

    Raises:
        OSError: the run folder, its model or a snapshot cannot be read.
        ValueError: there are no snapshots, none is as late or as early as ``images_seen``, the width is impossible,
            or a snapshot is damaged or of another network.

    >>> import elucidiff as ed
    >>> import tempfile
    >>> from dataclasses import replace
    >>> config = replace(ed.training.preset("digits"), batch_size=8, duration_images=16, ema_widths=(0.05, 0.1))
    >>> small = "ddpmpp:base_channels=8,channel_multipliers=1,blocks_per_level=1"
    >>> with tempfile.TemporaryDirectory() as run:
    ...     result = ed.training.train(config, run, network=small)
    ...     denoiser = ed.training.reconstruct(run, 0.1)
    ...
    >>> round(denoiser.facts["provenance"]["ema_fit_error"], 6)  # a width that was kept
    0.0
    """
    snapshots = _snapshots(Path(run_dir))
    if not snapshots:
        raise ValueError(f"there are no averages in {run_dir}: train with ema_widths, for example 0.05 and 0.10")
    profiles = [snapshot.profile for snapshot in snapshots]
    last = max(profile.images_seen for profile in profiles)
    wanted = Profile(sigma_rel, last if images_seen is None else images_seen)
    coefficients = combination(profiles, wanted, with_later=with_later)
    denoiser = model_folder.load(Path(run_dir) / "model", network=network)
    totals = {
        name: torch.zeros_like(value, dtype=torch.float64) for name, value in denoiser.network.named_parameters()
    }
    for snapshot, coefficient in zip(snapshots, coefficients.tolist(), strict=True):
        if coefficient:
            snapshot.add_to(totals, coefficient)
    return with_average(denoiser, totals, wanted, fit_error(profiles, coefficients, wanted))


def with_average(denoiser: Denoiser, totals: Mapping[str, Tensor], wanted: Profile, error: float) -> Denoiser:
    """``denoiser`` itself, with averaged parameters, and what they are in ``facts["provenance"]``.

    Args:
        denoiser: of the network that was averaged.
        totals: its parameters by name.
        wanted: the profile that was asked for.
        error: how far the average is from it: :func:`fit_error`.
    """
    with torch.no_grad():
        for name, parameter in denoiser.network.named_parameters():
            parameter.copy_(totals[name])
    denoiser.facts["provenance"] |= {
        "ema_width": wanted.sigma_rel,
        "images_seen": wanted.images_seen,
        "ema_fit_error": error,
    }
    return denoiser


@dataclass(frozen=True)
class _Snapshot:
    path: Path
    profile: Profile

    def add_to(self, totals: dict[str, torch.Tensor], coefficient: float) -> None:
        try:
            with safe_open(self.path, "pt") as file:
                shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
                if shapes != {name: list(total.shape) for name, total in totals.items()}:
                    raise ValueError(f"{self.path} is of another network than the model: their parameters differ")
                for name, total in totals.items():
                    total.add_(file.get_tensor(name), alpha=coefficient)
        except SafetensorError as error:
            raise ValueError(f"{self.path} is damaged: {error}") from None


def _snapshots(run_dir: Path) -> list[_Snapshot]:
    if not run_dir.is_dir():
        raise FileNotFoundError(f"there is no run folder {run_dir}")
    found = ((path, _NAME.fullmatch(path.name)) for path in sorted((run_dir / "averages").glob("*.safetensors")))
    return [_Snapshot(path, Profile(float(match[2]), int(match[1]))) for path, match in found if match]
