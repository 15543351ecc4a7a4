"""The loss of a denoiser at each noise level, and what it says of the noise levels that training draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr
from torch import Tensor

from elucidiff import parts
from elucidiff.data.dataset import Dataset
from elucidiff.data.recommending import NARROWEST, WIDEST
from elucidiff.data.scaling import to_unit
from elucidiff.data.spectrum import Wiener, levels
from elucidiff.data.subsets import evenly_spread
from elucidiff.denoisers.base import AnyDenoiser, DenoiserLike, DenoiserModule, as_denoiser, ask
from elucidiff.denoisers.conditions import Conditions, selected
from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.design.objectives import EDM, Objective
from elucidiff.design.training_noise import TrainingNoise
from elucidiff.evaluation.model_and_data import check_shapes


@torch.no_grad()
def loss_per_sigma(
    denoiser: DenoiserLike,
    images: Tensor,
    sigmas: Tensor,
    *,
    weight: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    labels: Conditions | None = None,
    batch_size: int = 256,
) -> Tensor:
    """Mean over images and pixels of ``lambda(sigma) |D(y + n; sigma) - y|^2`` with ``n ~ N(0, sigma^2 I)``.

    This is lambda times the denoising error of Karras et al. 2022, Eq. 2.

    Every noise level sees the same images under the same unit noise, so curves of two denoisers, drawn with equal
    generators, differ by the denoisers alone.

    Args:
        denoiser: ``D(x, sigma, labels)``.
        images: clean images in [-1, 1], ``(B, C, *spatial)``, on the denoiser's device.
        sigmas: noise levels, ``(K,)``.
        weight: lambda(sigma), for example ``ed.objectives.EDM().weight``.
        generator: source of the unit noise, on the CPU.
        labels: one an image, as the denoiser takes them, or None.
        batch_size: images in one call.

    Returns:
        The mean weighted loss at each level, float64 ``(K,)``, on the CPU.

    >>> import elucidiff as ed
    >>> loss = ed.evaluation.loss_per_sigma(
    ...     lambda x, sigma, labels=None: torch.zeros_like(x),
    ...     torch.full((8, 1, 2, 2), 0.5),
    ...     torch.tensor([0.1, 1.0]),
    ...     weight=lambda sigma: 1 / sigma**2,
    ...     generator=torch.Generator(),
    ... )
    >>> [round(float(value), 4) for value in loss]  # 0.5^2 / sigma^2
    [25.0, 0.25]
    """
    described = as_denoiser(denoiser)
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype).to(images.device)
    total = torch.zeros(len(sigmas), dtype=torch.float64, device=images.device)
    for k, sigma in enumerate(sigmas.to(device=images.device, dtype=images.dtype)):
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            conditions = None if labels is None else selected(labels, part, len(images))
            denoised = ask(described, images[part] + sigma * noise[part], sigma, conditions)
            total[k] += (denoised.double() - images[part].double()).square().sum()
    mean = total.cpu() / images.numel()
    return weight(sigmas.detach().cpu().double()) * mean


Array = npt.NDArray[np.float64]

DROWNED, LINEAR, PAYS, IDEAL = PURPOSES = ("drowned", "linear", "pays", "ideal")
"""The uses of training at a noise level; see :class:`NoiseUse`."""

# Losses that differ by less count as equal. The same images under the same noise went into both.
_ALIKE = 0.05
_ENOUGH = 1 - _ALIKE
_DRAWS = 1 << 16


@dataclass(frozen=True)
class NoiseUse:
    """Losses of a model, and of denoisers that know less and more, on the same images under the same noise.

    All are lambda(sigma) times the mean squared error per value (Karras et al. 2022, Eq. 8). What training at a noise
    level is good for follows from them:

    - "drowned": no denoiser can do better than the linear one, since noise hides all that it does not know;
    - "linear": this model does no better than the linear one;
    - "pays": the model does better, and could still improve;
    - "ideal": the model has reached the posterior mean over the data, and nothing is left to learn from them;

    where losses count as equal that differ by less than 5%.

    Attributes:
        sigma: noise levels, increasing, in units of the data, ``(K,)``.
        model: loss of the model, ``(K,)``.
        linear: of the Wiener filter, which knows the data's mean and spectrum (with class labels, the mean of each
            class), and needs no training.
        memory: of the posterior mean over the data (Karras et al. 2022, Eq. 57), which knows every image: no denoiser
            can do better on the data as a whole.
        density: p_train as a density over ln(sigma).
        purpose: of each level, one of the four above.
        shares: of the draws of p_train, by purpose.
        p_mean, p_std: the normal distribution of ln(sigma) nearest to p_train of whose draws 95% fall where the model
            does better than the linear denoiser, or as many as can be; None if it does nowhere.
        suggested_share: of its draws, those that do.

    >>> import elucidiff as ed
    >>> images = ed.data.to_unit(ed.data.open("digits").images(range(200))).float()
    >>> found = ed.evaluation.noise_use(ed.ideal.DataPosterior(images), images, ed.objectives.EDM(), level_count=4)
    >>> found.purpose
    ('ideal', 'ideal', 'ideal', 'drowned')
    """

    sigma: Array
    model: Array
    linear: Array
    memory: Array
    density: Array
    purpose: tuple[str, ...]
    shares: Mapping[str, float]
    p_mean: float | None
    p_std: float | None
    suggested_share: float

    @property
    def useful_share(self) -> float:
        """Share of the draws of p_train at levels where the model does better than the linear denoiser."""
        return self.shares[PAYS] + self.shares[IDEAL]

    @property
    def verdict(self) -> str:
        """A sentence on where the draws of training go, and what to do about it."""
        if self.p_mean is None:
            return (
                "Nowhere does this model do better than a linear filter: either it has to train longer, or there is "
                "nothing else to learn from these data."
            )
        gain = self.linear - self.model
        where = (
            f"{self.useful_share:.0%} of the training draws fall where the model beats a linear filter (most of all "
            f"at sigma {self.sigma[gain.argmax()]:.2g}), {self.shares[LINEAR]:.0%} where it does not, and "
            f"{self.shares[DROWNED]:.0%} where noise drowns the data."
        )
        if self.shares[IDEAL] >= _ALIKE:
            where += (
                f" At {self.shares[IDEAL]:.0%} the model has reached the ideal, so more training there is in vain."
            )
        if self.useful_share >= _ENOUGH:
            return f"{where} P_mean and P_std waste hardly any training."
        if self.suggested_share < self.useful_share + _ALIKE / 2:
            return f"{where} Other values of P_mean and P_std would hardly change that."
        return (
            f"{where} Nearby values that waste less: P_mean {self.p_mean:.2f}, P_std {self.p_std:.2f} "
            f"({self.suggested_share:.0%})."
        )


def noise_use(
    denoiser: DenoiserLike,
    images: Tensor,
    objective: Objective,
    *,
    points: Tensor | None = None,
    labels: Tensor | None = None,
    point_classes: Tensor | None = None,
    level_count: int = 32,
    batch_size: int = 64,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> NoiseUse:
    """Measure a model at many noise levels.

    Args:
        denoiser: D(x; sigma), or D(x; sigma, labels) with ``labels``; its range of noise levels is respected.
        images: clean images in units of the noise levels, float32 ``(B, C, *spatial)``, on the denoiser's device.
        objective: p_train and lambda of the training.
        points: the data set, float32 ``(P, C, *spatial)`` on the CPU, ``images`` among them. None: the images.
        labels: rows ``(B, label_dim)`` for the denoiser, one-hot.
        point_classes: the class of each point ``(P,)``; needed with labels.
        level_count: number of noise levels K.
        batch_size: images in one call of the denoiser.
        seed: of the noise.
        progress: called as ``progress("comparing with the ideal", done, 3)``.

    Raises:
        ValueError: labels without classes of the points, or a denoiser whose range of noise levels does not fit.

    >>> import elucidiff as ed
    >>> images = ed.data.to_unit(ed.data.open("digits").images(range(200))).float()
    >>> nothing = lambda x, sigma, labels=None: 0 * x
    >>> found = ed.evaluation.noise_use(nothing, images, ed.objectives.EDM(), level_count=4)
    >>> bool((found.model >= found.memory).all()), found.useful_share
    (True, 0.0)
    """
    if (labels is None) != (point_classes is None):
        raise ValueError(
            "labels were given without the classes of the points, or these without labels: give both or none"
        )
    points = images.cpu() if points is None else points
    label_dim = 1 if labels is None else labels.shape[1]
    linear = Wiener.fit(points, point_classes, label_dim)
    sigma = _supported(levels(linear.variances, level_count), as_denoiser(denoiser))
    denoisers: dict[str, DenoiserLike] = {
        "model": denoiser,
        "linear": linear,
        "memory": DataPosterior(points, point_classes),
    }
    losses = {}
    for done, (name, kind) in enumerate(denoisers.items()):
        if progress is not None:
            progress("comparing with the ideal", done, len(denoisers))
        place = images.device if name == "model" else torch.device("cpu")
        losses[name] = loss_per_sigma(
            kind,
            images.to(place),
            torch.from_numpy(sigma),
            weight=objective.weight,
            generator=torch.Generator().manual_seed(seed),
            labels=None if labels is None else labels.to(place),
            batch_size=batch_size,
        ).numpy()
    purpose = tuple(map(_purpose, losses["model"], losses["linear"], losses["memory"]))
    p_mean, p_std, suggested_share = _suggest(objective.noise, sigma, purpose, seed)
    return NoiseUse(
        sigma=sigma,
        **losses,
        density=objective.noise.log_density(torch.from_numpy(sigma)).exp().numpy(),
        purpose=purpose,
        shares=_shares(objective.noise, sigma, purpose, seed),
        p_mean=p_mean,
        p_std=p_std,
        suggested_share=suggested_share,
    )


# Of the images so many are denoised at every level, and the ideal denoiser knows so many, or so many values.
_IMAGES = 128
_POINTS, _POINT_VALUES = 4096, 1 << 25


def noise_use_of_data(
    denoiser: DenoiserLike,
    dataset: Dataset,
    places: npt.NDArray[np.int64] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> NoiseUse:
    """:func:`noise_use` of the model's own training noise, on images evenly spread over a data set.

    Args:
        denoiser: D, where it is. The objective is what its ``facts`` tell, or the paper's where they do not.
        dataset: the data that it was trained on.
        places: of the images that can be read; None for all.
        progress: as for :func:`noise_use`.

    Raises:
        ValueError: see :func:`check_assessable`.

    >>> import elucidiff as ed
    >>> network = ed.networks.UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
    >>> untrained = ed.Denoiser(network, ed.preconditioning.EDM())
    >>> ed.evaluation.noise_use_of_data(untrained, ed.data.open("digits"), np.arange(100)).useful_share
    0.0
    """
    denoiser = as_denoiser(denoiser)
    check_assessable(denoiser, dataset)
    readable = np.arange(len(dataset)) if places is None else places
    known = evenly_spread(readable, max(2, min(_POINTS, _POINT_VALUES // int(np.prod(dataset.shape)))))
    points = to_unit(dataset.images(known))
    chosen = torch.from_numpy(evenly_spread(np.arange(len(known)), _IMAGES))
    labels = point_classes = None
    if denoiser.label_dim and dataset.classes is not None:
        point_classes = dataset.classes[torch.from_numpy(known)]
        labels = dataset.labels(torch.from_numpy(known)[chosen])
    return noise_use(
        denoiser,
        points[chosen].to(denoiser.device),
        training_objective(denoiser.facts) or EDM(),
        points=points,
        labels=None if labels is None else labels.to(denoiser.device),
        point_classes=point_classes,
        progress=progress,
    )


def check_assessable(denoiser: DenoiserModule, dataset: Dataset) -> None:
    """Raise ValueError unless the data are of the model's shape, and have its classes if it knows any."""
    check_shapes(denoiser, dataset)
    if denoiser.label_dim and denoiser.label_kind == "vectors":
        raise ValueError(
            "the model was trained with label vectors: its training noise can be assessed for classes only"
        )
    if denoiser.label_dim and (dataset.classes is None or dataset.label_dim != denoiser.label_dim):
        raise ValueError(
            f"the model was trained with labels of width {denoiser.label_dim}, but {dataset.name} has no such classes"
        )


def training_objective(facts: Mapping[str, Any]) -> Objective | None:
    """The objective that a model was trained with, from its ``facts``; None where they do not tell."""
    settings = facts.get("provenance", {}).get("training", {})
    try:
        return parts.from_plain("objective", settings.get("objective"))  # type: ignore[no-any-return]
    except ValueError:
        return None


def _supported(sigma: Array, denoiser: AnyDenoiser) -> Array:
    low, high = denoiser.sigma_min, denoiser.sigma_max
    inside = sigma[(sigma >= low) & (sigma <= high)]
    if len(inside) < 2:
        raise ValueError(
            f"the model takes noise levels {low:g} to {high:g}, but those of these data are {sigma[0]:.2g} to "
            f"{sigma[-1]:.2g}"
        )
    return inside


def _purpose(model: float, linear: float, memory: float) -> str:
    if memory >= (1 - _ALIKE) * linear:
        return DROWNED
    if model >= (1 - _ALIKE) * linear:
        return LINEAR
    return IDEAL if model <= (1 + _ALIKE) * memory else PAYS


def _draws(noise: TrainingNoise, seed: int) -> Array:
    """ln(sigma) of many draws."""
    base = noise.base((_DRAWS,), torch.Generator().manual_seed(seed), dtype=torch.float64)
    return noise.from_base(base).log().numpy()


def _shares(noise: TrainingNoise, sigma: Array, purpose: tuple[str, ...], seed: int) -> dict[str, float]:
    """Share of the draws whose nearest measured level has each purpose."""
    drawn = np.asarray(purpose)[np.searchsorted(_edges(sigma), _draws(noise, seed))]
    return {name: float(np.mean(drawn == name)) for name in PURPOSES}


def _suggest(
    noise: TrainingNoise, sigma: Array, purpose: tuple[str, ...], seed: int
) -> tuple[float | None, float | None, float]:
    """P_mean, P_std and the share of useful draws of the nearest distribution that wastes little.

    Nearness is that of :func:`fisher_distance`. It is not known which of the distributions that waste nothing trains
    best, so as little as possible is changed.
    """
    useful = np.isin(purpose, (PAYS, IDEAL))
    if not useful.any():
        return None, None, 0.0
    logs = _draws(noise, seed)
    mean, width = float(logs.mean()), float(logs.std())
    means, widths = np.meshgrid(
        np.append(np.arange(math.log(sigma[0]), math.log(sigma[-1]), 0.05), mean),
        np.append(np.arange(NARROWEST, WIDEST, 0.05), width),
    )
    below = ndtr((_edges(sigma)[:, None, None] - means) / widths)
    cells = np.diff(below, axis=0, prepend=0.0, append=1.0)
    share = cells[useful].sum(0)
    distance = fisher_distance(mean, width, means, widths)
    enough = share >= _ENOUGH
    best = np.where(enough, distance, np.inf).argmin() if enough.any() else share.argmax()
    return float(means.flat[best]), float(widths.flat[best]), float(share.flat[best])


def fisher_distance(mean: float, std: float, means: Array, stds: Array) -> Array:
    """Squared distance of normal distributions from one of them in Fisher's metric, to second order.

    d^2 = (dm / s)^2 + 2 (d ln s)^2, the Fisher information of a normal distribution (Rao 1945): twice the
    Kullback-Leibler divergence between neighbours.

    Args:
        mean, std: of the one.
        means, stds: of the others, of one shape.
    """
    return np.asarray(((means - mean) / std) ** 2 + 2 * np.log(stds / std) ** 2, dtype=np.float64)


def _edges(sigma: Array) -> Array:
    """ln(sigma) half-way between neighbouring levels, ``(K - 1,)``."""
    return np.asarray(np.log(sigma[1:] * sigma[:-1]) / 2)
