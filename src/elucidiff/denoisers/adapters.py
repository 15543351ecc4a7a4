"""Networks from elsewhere as denoisers: whatever one predicts and however it counts time, it answers D(x; sigma).

All of them see x_t = s x with x = x_0 + sigma eps, our noisy sample, and differ in independent ways: what they
predict (:class:`AdaptedDenoiser`), which t and s they expect at sigma (:class:`DiscreteTime`,
:class:`ContinuousTime`, :class:`TrigTime`), how their samplers clip D (:class:`Clamp`, :class:`DynamicThreshold`),
and in which units they take images (:class:`InUnits`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserModule, Wrapped
from elucidiff.denoisers.clipping import Clamp, DynamicThreshold
from elucidiff.denoisers.conditions import Conditions, for_network
from elucidiff.denoisers.labels import KnownLabels, labels_by_facts, of_conditions
from elucidiff.denoisers.preconditioned import floating_type
from elucidiff.denoisers.shapes import check_label_count, label_rows, noise_levels
from elucidiff.denoisers.times import Between, ContinuousTime, DiscreteTime, Time, TrigTime, reaches_infinity
from elucidiff.denoisers.usual import Clip, Usual
from elucidiff.design.values import as_tensor, per_sample
from elucidiff.devices import widest_type

__all__ = [
    "AdaptedDenoiser",
    "Between",
    "Clamp",
    "ContinuousTime",
    "DiscreteTime",
    "DynamicThreshold",
    "InUnits",
    "Prediction",
    "Time",
    "TrigTime",
]

Prediction = Literal["x0", "epsilon", "v", "flow", "score", "trigflow"]


class AdaptedDenoiser(DenoiserModule):
    """D(x; sigma) from a network F(s x; t) that predicts something else than the clean sample x_0.

    With x = x_0 + sigma eps, and x_t = s x that the network sees:

    ========= =================== ===================================================================== ==============
    predicts  F estimates         D(x; sigma)                                                           at infinity
    ========= =================== ===================================================================== ==============
    x0        x_0                 F                                                                     F
    epsilon   eps                 x - sigma F (Ho et al. 2020)                                          none
    score     -eps / (s sigma)    x + sigma^2 s F (Song et al. 2021)                                    none
    v         s (eps - sigma x_0) (x - sigma F / s) / (1 + sigma^2) (Salimans and Ho 2022)              -F
    flow      eps - x_0           (x - sigma F) / (1 + sigma) (Lipman et al. 2023, Liu et al. 2023)     x - F
    trigflow  as v, data / c      c^2 s^2 x - c s sigma F, c = sigma_data (Lu and Song 2024)            -c F
    ========= =================== ===================================================================== ==============

    At sigma = 0 it is x, whatever F says. Where the network's time reaches pure noise (rectified flow at t = 1, a
    table with zero terminal SNR), sigma may be infinite. There x stands for the noise eps itself, of unit variance,
    which is what the network sees too.

    Args:
        network: called as ``network(x_t, t)``, or ``network(x_t, t, labels)`` where labels are given, with t of shape
            (B,): integers for discrete time, else floating point. Wrap it in a lambda where it wants other arguments.
            If it returns 2 C channels (a learned variance), the first C are used. A module that is given itself moves
            with this one (``.to(device)``); one inside a lambda does not.
        predicts: what F estimates, from the table.
        time: how the network counts time; for "trigflow" a :class:`TrigTime`.
        label_dim: number of classes; labels then reach the network as rows (B, label_dim). 0: it takes no labels.
        dtype: floating type that the network sees; by default that of its parameters, float32 for a callable without.
        clip: applied to D where there is noise: :class:`Clamp`, :class:`DynamicThreshold`, or a function of D.
        any_labels: whether labels reach the network as they are, whatever their shape: encoded texts, masks, or a
            mapping of them. Floating ones are cast to its type.
        sample_shape: shape (C, *spatial) of the samples that the network was made for, if it is known.

    Attributes:
        usual_clip: what is applied to D while samples are drawn, beside ``clip``: see :attr:`usual`. A function of D,
            None for nothing, or "auto".
        facts: what is known about the model beyond its numbers, as in :attr:`.Denoiser.facts`. ``facts["home"]``, for
            a model of another library, is ``{"format": ..., "settings": ...}``: where it came from.

    Raises:
        ValueError: ``predicts`` is none of these, or does not fit the time.

    >>> import elucidiff as ed
    >>> time = ed.adapters.DiscreteTime(torch.linspace(0.99, 0.01, 1000, dtype=torch.float64))
    >>> denoiser = ed.adapters.AdaptedDenoiser(lambda x, j: 0 * x, "epsilon", time)
    >>> float(denoiser(torch.ones(1, 1), 2.0))  # no noise found: x itself
    1.0
    """

    sample_shape: tuple[int, ...] = ()
    label_dim: int = 0

    def __init__(
        self,
        network: Callable[..., Tensor],
        predicts: Prediction,
        time: Time,
        *,
        label_dim: int = 0,
        dtype: torch.dtype | None = None,
        clip: Callable[[Tensor], Tensor] | None = None,
        any_labels: bool = False,
        sample_shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        if predicts not in get_args(Prediction):
            raise ValueError(f"predicts is {predicts!r}, but must be one of {', '.join(get_args(Prediction))}")
        if predicts == "trigflow" and not isinstance(time, TrigTime):
            raise ValueError(f"a network that predicts trigflow counts time by TrigTime, not {type(time).__name__}")
        self.network = network
        self.predicts = predicts
        self.time = time
        self.label_dim = label_dim
        self.dtype = dtype
        self.clip = clip
        self.any_labels = any_labels
        self.sample_shape = tuple(sample_shape)
        self.usual_clip: Clip | Literal["auto"] | None = "auto"
        # The noise cannot be told from x where x is the noise, so there is nothing to learn from an epsilon there.
        self._endless = predicts not in ("epsilon", "score") and reaches_infinity(time)

    @property
    def known_labels(self) -> KnownLabels:
        """All that is known of the labels, by ``facts["data"]``; whatever it is given, with ``any_labels``."""
        if self.any_labels:
            return of_conditions(self.drawn_conditions)
        return labels_by_facts(self.facts.get("data"), self.label_dim)

    @property
    def sigma_min(self) -> float:
        """Smallest supported noise level."""
        return self.time.sigma_min

    @property
    def sigma_max(self) -> float:
        """Largest supported noise level."""
        return self.time.sigma_max

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """The nearest supported noise level, in the type of ``sigma``."""
        return self.time.round_sigma(sigma)

    @property
    def any_batch_size(self) -> bool:
        """True if the network may be called on any number of samples: not if it is compiled for each."""
        return bool(getattr(self.network, "any_batch_size", True))

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None = None) -> Tensor:
        """The expected clean sample given the noisy sample ``x`` at noise level ``sigma``.

        Args:
            x: noisy samples (B, C, *spatial), unscaled: clean sample plus sigma times unit noise.
            sigma: noise level in units of the data, a float, () or (B,); at infinity ``x`` is unit noise.
            labels: class indices (B,), or rows (B, label_dim), or what the network takes if :attr:`any_labels`; None
                calls the network without labels.

        Returns:
            D(x; sigma) in the type of ``x``; the network sees ``dtype``.

        Raises:
            TypeError: ``x`` is no tensor, or ``sigma`` no number.
            ValueError: the labels or noise levels do not fit the batch or the network; a noise level is negative,
                not a number, or infinite where there is no answer.
        """
        denoised, _ = self.predict(x, sigma, labels)
        if self.clip is None:
            return denoised
        levels = noise_levels(sigma, x, may_be_infinite=self._endless)
        return torch.where(per_sample(levels, x) == 0, x, self.clip(denoised))

    @property
    def usual(self) -> Usual:
        """Even steps of the time of a flow within the range of the network's own time, and a multistep solver.

        Networks that count time so were trained evenly along it, or nearly so; and one evaluation a step is what
        their home samplers take. The x_0 of a network that predicts epsilon or the score is sigma times as wrong as
        what it predicts, so it is clamped to [-1, 1] where samples are pictures, unless :attr:`usual_clip` is
        something else.
        """
        data = self.facts.get("data")
        of_8_bits = not isinstance(data, dict) or data.get("dtype", "uint8") == "uint8"
        clip = self.usual_clip
        if clip == "auto":
            shape = self.sample_shape
            amplified = self.clip is None and self.predicts in ("epsilon", "score")
            clip = Clamp() if amplified and of_8_bits and len(shape) == 3 and shape[0] in (1, 3) else None
        # The time 1/2 is at twice the standard deviation of the data, which is 0.5 for images in [-1, 1].
        steps = "flow" if of_8_bits or self.data_std is None else f"flow:shift={2 * self.data_std:g}"
        return Usual(steps, "ipndm:order=2", clip)

    def predict(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None = None) -> tuple[Tensor, Tensor]:
        """D(x; sigma) without clipping, and what the network returned beside its first C channels, (B, 0 or C, ...).

        The arguments are those of :meth:`forward`. The second half is a learned variance in the network's own terms.
        """
        # Networks tell times apart that are the same in float32 (999 t to 6e-5), so times are wider than x.
        wide = widest_type(x.device) if isinstance(x, Tensor) else None
        exact = noise_levels(sigma, x, may_be_infinite=self._endless, dtype=wide).expand(x.shape[0])
        t, scale = self.time.at(exact)
        levels = exact.to(x.dtype)
        noise_only = per_sample(levels.isinf(), x)
        # Where there is nothing but noise, formulas get a level at which they are finite, and are not used.
        sigma = torch.where(noise_only, 1.0, per_sample(levels, x)).to(x.dtype)
        s = torch.where(noise_only, 1.0, per_sample(scale, x)).to(x.dtype)
        dtype = self.network_dtype
        arguments: list[Conditions] = [(s * x).to(dtype), t.to(dtype) if t.is_floating_point() else t]
        if labels is not None:
            arguments.append(self.labels_for(labels, x))
        channels = x.shape[1]
        answer = self.network(*arguments).to(x.dtype)
        output, rest = answer[:, :channels], answer[:, channels:]
        denoised, from_noise = self._denoised(x, sigma, s, output)
        return torch.where(sigma == 0, x, torch.where(noise_only, from_noise, denoised)), rest

    def without_network(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """D(x; sigma) if the network's output were 0, by the table above; not clipped."""
        exact = noise_levels(sigma, x, may_be_infinite=self._endless, dtype=widest_type(x.device)).expand(x.shape[0])
        _, scale = self.time.at(exact)
        levels = per_sample(exact.to(x.dtype), x)
        noise_only, nothing = levels.isinf(), torch.zeros_like(x)
        finite, s = torch.where(noise_only, 1.0, levels).to(x.dtype), per_sample(scale, x).to(x.dtype)
        denoised, from_noise = self._denoised(x, finite, torch.where(noise_only, 1.0, s).to(x.dtype), nothing)
        return torch.where(levels == 0, x, torch.where(noise_only, from_noise, denoised))

    @property
    def data_std(self) -> float | None:
        """Standard deviation of the training data, by ``facts["data"]``, or what TrigFlow takes it for."""
        return self.time.sigma_data if isinstance(self.time, TrigTime) else super().data_std

    @property
    def network_dtype(self) -> torch.dtype:
        """The floating type that the network sees."""
        return floating_type(self.network) if self.dtype is None else self.dtype

    def labels_for(self, labels: Conditions, x: Tensor) -> Conditions:
        """Labels as the network gets them beside ``x``: rows of its type, or, if ``any_labels``, as they are."""
        if self.any_labels:
            return for_network(self.known_labels.resolved(labels), x, self.network_dtype)
        rows = label_rows(labels, self.label_dim).to(x.device, self.network_dtype)  # type: ignore[arg-type]
        check_label_count(rows, x)
        return rows

    def _denoised(self, x: Tensor, sigma: Tensor, s: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """D at finite noise levels, and at an infinite one; see the table above."""
        match self.predicts:
            case "epsilon":
                return x - sigma * output, output  # which noise_levels refuses
            case "score":
                return x + sigma.square() * s * output, output  # the same
            case "v":
                return (x - sigma * output / s) / (1 + sigma.square()), -output
            case "flow":
                return (x - sigma * output) / (1 + sigma), x - output
            case "trigflow":
                c = self.time.sigma_data if isinstance(self.time, TrigTime) else 1.0
                return (c * s).square() * x - c * s * sigma * output, -c * output
            case _:
                return output, output


class InUnits(Wrapped):
    """A denoiser of images y in other units, asked about x = ``factor`` y + ``offset``: images in [0, 1], say.

    D'(x; sigma) = factor D((x - offset) / factor; sigma / factor) + offset, so noise levels are ``factor`` times as
    large as there. At an infinite level x is unit noise in either units.

    Args:
        denoiser: D, in its own units.
        factor: 2 for images in [0, 1] that are to be in [-1, 1].
        offset: -1 for those.

    >>> import elucidiff as ed
    >>> time = ed.adapters.ContinuousTime(ed.schedules.EDM())
    >>> unit = ed.adapters.AdaptedDenoiser(lambda x, t: x, "x0", time)  # images in [0, 1]
    >>> denoiser = ed.adapters.InUnits(unit, factor=2, offset=-1)
    >>> float(denoiser(torch.full((1, 1), 0.5), 1.0))
    0.5
    """

    denoiser: AdaptedDenoiser

    def __init__(self, denoiser: AdaptedDenoiser, factor: float, offset: float) -> None:
        super().__init__(denoiser)
        self.factor, self.offset = factor, offset

    @property
    def sigma_min(self) -> float:
        """Smallest supported noise level."""
        return self.factor * super().sigma_min

    @property
    def sigma_max(self) -> float:
        """Largest supported noise level."""
        return self.factor * super().sigma_max

    @property
    def data_std(self) -> float | None:
        """Standard deviation of the training data, in these units; None if unknown."""
        std = super().data_std
        return None if std is None else self.factor * std

    @property
    def sigma_data(self) -> float:
        """The standard deviation of data that D is made for, in these units; 0.5 where it does not say."""
        return 0.5 if self.data_std is None else self.data_std

    def without_network(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """D' with a network whose output is 0."""
        return self._here(x, sigma, self.denoiser.without_network)

    @property
    def usual(self) -> Usual:
        """As D is sampled, clipped in these units."""
        usual = super().usual
        if usual.clip is None or self.denoiser.usual_clip == "auto":
            return usual
        return replace(usual, clip=self._in_its_units(usual.clip))

    def _in_its_units(self, clip: Clip) -> Clip:
        return lambda denoised: self.factor * clip((denoised - self.offset) / self.factor) + self.offset

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """The noise level nearest to ``sigma`` that D supports."""
        return self.factor * super().round_sigma(as_tensor(sigma) / self.factor)

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None = None) -> Tensor:
        """D' as above; for the arguments see :meth:`.AdaptedDenoiser.forward`."""
        given = () if labels is None else (labels,)
        return self._here(x, sigma, lambda y, level: self.denoiser(y, level, *given))

    def _here(self, x: Tensor, sigma: float | Tensor, there: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """A function of samples and noise levels in the units of D, asked in these."""
        level = torch.as_tensor(sigma)
        noise_only = per_sample(level.reshape(-1).to(x.device).isinf(), x)
        y = torch.where(noise_only, x, (x - self.offset) / self.factor)
        answer = self.factor * there(y, level / self.factor) + self.offset
        # Exactly x without noise, also where going to the other units and back rounds.
        return torch.where(per_sample(level.reshape(-1).to(x.device), x) == 0, x, answer)
