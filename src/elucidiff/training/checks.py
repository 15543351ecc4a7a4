"""Checks of a run at every checkpoint: the loss on held-out images, early warning of overfitting, memorisation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elucidiff.data import Dataset, scaling_of
from elucidiff.data.gaps import filled
from elucidiff.data.given import ConditionScaling, given_with
from elucidiff.data.inspection import digest
from elucidiff.data.nearest import compared_with, in_pieces, nearest_in
from elucidiff.data.scaling import AsStored, Scaling
from elucidiff.data.subsets import Places, evenly_spread
from elucidiff.denoisers.base import as_denoiser
from elucidiff.denoisers.conditions import Conditions, each
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.denoisers.tuned import is_tuned
from elucidiff.design.steps import Karras
from elucidiff.sampling.grid import range_for
from elucidiff.sampling.sampler import Sampler
from elucidiff.training.batches import TrainingData, draw, mix
from elucidiff.training.metrics import LossMeter, LossSummary, level_name, metrics_until
from elucidiff.training.state import TrainingState

# Yoon et al. 2023 ("Diffusion probabilistic models generalize when they fail to memorize"): a sample is memorised if
# its nearest training image is less than a third as far as the second nearest.
_MEMORISED = 1 / 3
_WARN_ABOVE = 0.1
_FEWEST = 2  # images that a sample is compared with
_STEPS = 8


@dataclass(frozen=True)
class Memorisation:
    """Distances of samples to training images, beside those of training images to each other.

    A ratio is that of an image's distance to its nearest training image over that to the second nearest.

    Attributes:
        samples: how many were drawn.
        fraction: share of the samples with a ratio below 1/3.
        ratio: median ratio of the samples.
        real_fraction: share of as many training images, each compared with all others, with a ratio below 1/3; None
            if there are no two others, in a set of two different images.
        real_ratio: median ratio of these, likewise.
    """

    samples: int
    fraction: float
    ratio: float
    real_fraction: float | None
    real_ratio: float | None

    @property
    def warning(self) -> str | None:
        """One line if clearly more samples than real images are copies; else None."""
        if self.fraction <= (self.real_fraction or 0.0) + _WARN_ABOVE:
            return None
        real = (
            "of two different ones, there is nothing else to learn"
            if self.real_fraction is None
            else f"of real images {round(self.real_fraction * self.samples)} would be"
        )
        return (
            f"{round(self.fraction * self.samples)} of {self.samples} samples are copies of training images "
            f"({real}): stop earlier, or train with more images, augmentation or dropout"
        )


class MemorisationCheck:
    """Samples with fixed seeds, compared with the training set.

    Equal images of the set count once: a sample that copies one would else be equally far from both.

    Args:
        train: the training images.
        count: samples to draw, and real images to compare them with.
        sigma_data: standard deviation of the data, to which the range of noise levels is scaled.
        scaling: of the training images, measured.
    """

    def __init__(
        self,
        train: Dataset,
        count: int,
        sigma_data: float,
        scaling: Scaling = AsStored(),  # noqa: B008 (frozen)
    ) -> None:
        self._train, self._count, self._scaling = train, count, scaling
        self._sampler = Sampler(Karras(_STEPS, *range_for(sigma_data)))
        self._candidates = compared_with(train, _FEWEST + 1)

    def __call__(self, model: Denoiser) -> Memorisation:
        """Draw the samples and compare them. Nothing random but the seeds' own generators is used.

        Raises:
            ValueError: the training images are all equal, so that there is nothing to compare with; or the samples
                are not finite.
        """
        if len(self._distinct) < _FEWEST:
            raise ValueError("the training images are all equal, so every good sample is a copy")
        places = evenly_spread(np.arange(len(self._train)), self._count)
        labels = self._given(model, places)
        if labels is not None:
            # A set with fewer images than samples: its labels are used again.
            again = torch.arange(self._count) % len(places)
            labels = each(labels, lambda value: value[again])
        sampler = Sampler.usual(model) if is_tuned(as_denoiser(model)) else self._sampler
        samples = sampler.run(model, range(self._count), labels, batch_size=min(self._count, 16)).x.cpu()
        if self._train.dtype == torch.uint8:
            samples = samples.clamp(-1, 1)
        ratios = self._ratios(samples)
        real = self._real_ratios
        return Memorisation(
            samples=self._count,
            fraction=_share_of_copies(ratios),
            ratio=float(ratios.median()),
            real_fraction=None if real is None else _share_of_copies(real),
            real_ratio=None if real is None else float(real.median()),
        )

    def _given(self, model: Denoiser, places: Places) -> Conditions | None:
        known = as_denoiser(model).known_labels
        if not known.takes_any:
            return None
        return given_with(self._train, ConditionScaling.of(model) if known.field else None, places)

    def _ratios(self, images: Tensor, *, themselves: bool = False) -> Tensor:
        """Nearest over second nearest distance; of images of the set themselves, to others."""
        distances, _ = nearest_in(images, self._train, self._distinct, _FEWEST + themselves, self._scaling)
        nearest, second = distances[:, -2], distances[:, -1]
        # Images that differ in their bits but not in their values (0 and -0) are both at a distance of 0 from a copy.
        return torch.where(second > 0, nearest / second, 0.0)

    @cached_property
    def _real_ratios(self) -> Tensor | None:
        if len(self._distinct) <= _FEWEST:
            return None
        places = evenly_spread(self._distinct, self._count)
        return self._ratios(filled(self._scaling.to_model(self._train.images(places)))[0], themselves=True)

    @cached_property
    def _distinct(self) -> Places:
        """Positions of the images that are compared with: of equal ones the first."""
        seen: dict[bytes, int] = {}
        for places in in_pieces(self._train, self._candidates):
            for place, image in zip(places.tolist(), self._train.images(places), strict=True):
                seen.setdefault(digest(image), place)
        return np.array(list(seen.values()))


def _share_of_copies(ratios: Tensor) -> float:
    return float((ratios < _MEMORISED).double().mean())


@torch.no_grad()
def validate(state: TrainingState, model: Denoiser, held_out: Dataset, passes: int = 4) -> LossSummary:
    """Measure a model's loss under p_train, overall and by noise level.

    Noise levels and noise are the same in every call and every run, so what differs is the model. Nothing is
    augmented.

    Args:
        state: the training state.
        model: the denoiser with the averaged weights; every process has it.
        held_out: the images.
        passes: how often each image is used, each time at another noise level.

    Raises:
        ValueError: another process could not measure its part. What one of them raises comes after all have met, so
            that whoever goes on without this loss goes on with the others.
    """
    meter = LossMeter(state.device, state.processes)
    failure: Exception | None = None
    try:
        _measure(state, model, held_out, passes, meter)
    except Exception as error:
        failure = error
    failed = state.processes.gather(torch.tensor([failure is not None]))
    if failure is not None:
        raise failure
    if failed.any():
        raise ValueError("another process could not measure the loss on held-out images")
    return meter.summary()


def _measure(state: TrainingState, model: Denoiser, held_out: Dataset, passes: int, meter: LossMeter) -> None:
    """This process's part; the processes take turns."""
    processes, noise, scaling = state.processes, state.objective.noise, scaling_of(model)
    images, there = filled(scaling.to_model(held_out.images()))
    gaps = not bool(there.all())
    given = given_with(held_out, ConditionScaling.of(model) if held_out.condition_shape else None)
    size = state.config.device_batch_size or state.images
    for number in range(passes):
        draws = draw(mix(0, "validation"), number, images.shape, noise)
        for start in range(processes.rank * size, len(images), processes.count * size):
            part = slice(start, start + size)
            drawn = draws.part(part)
            sigma = noise.from_base(drawn.level).to(state.device)
            clean, unit_noise = images[part].to(state.device), drawn.noise.to(state.device)
            rows = None if given is None else each(given, lambda value, part=part: value[part].to(state.device))  # type: ignore[misc]
            known: dict[str, Any] = {"present": there[part].to(state.device)} if gaps else {}
            with state.arithmetic.forward():
                loss = state.objective.loss(model, clean, sigma, unit_noise, rows, **known)
            meter.add(loss, sigma, there[part].to(state.device) if gaps else None)


# The lowest loss must be so many checkpoints ago.
_PATIENCE = 3
_ALL = "all"


@dataclass(frozen=True)
class HeldOutTrend:
    """The course of the loss on held-out images so far.

    Attributes:
        best: the lowest mean loss at any checkpoint, this one included.
        best_images: training images at that checkpoint.
        rising: noise levels, as metrics.jsonl names them, at which the loss was lowest three or more checkpoints ago
            and has risen since by more than its standard error, while the loss in training has fallen; in order.
        rise: the largest of these rises, as a share of the lowest loss.
        overall: whether that is true of the mean over all levels.
    """

    best: float
    best_images: int
    rising: tuple[str, ...]
    rise: float
    overall: bool

    @property
    def warning(self) -> str | None:
        """One line if the model overfits; else None."""
        if not (self.rising or self.overall):
            return None
        at = f"at sigma {_range(self.rising)}" if self.rising else "over all noise levels"
        return (
            f"the loss on held-out images has risen {at} (by up to {self.rise:.0%}) while that in training falls: "
            "the model overfits; stop, or train with more images, augmentation or dropout. The model with the lowest "
            f"held-out loss ({self.best_images:,} images) is in best/"
        )


def held_out_trend(lines: Sequence[Mapping[str, Any]], images_seen: int, losses: LossSummary) -> HeldOutTrend:
    """Compare the held-out losses of a checkpoint with those of the checkpoints before.

    Args:
        lines: of metrics.jsonl, about at most ``images_seen`` images.
        images_seen: training images at this checkpoint.
        losses: of the held-out images.
    """
    before = [line for line in lines if "validation_loss" in line and line["images"] < images_seen]
    now = {
        "images": images_seen,
        "validation_loss": losses.mean,
        "validation_loss_by_sigma": {level_name(sigma): loss for sigma, loss in losses.by_sigma.items()},
    }
    checkpoints = [*before, now]
    best = min(checkpoints, key=lambda line: _finite(line["validation_loss"]))
    rises = {}
    for level, error in {_ALL: losses.error, **_named(losses.error_by_sigma)}.items():
        rise = _rise(lines, checkpoints, level, error)
        if rise:
            rises[level] = rise
    return HeldOutTrend(
        best=float(best["validation_loss"]),
        best_images=int(best["images"]),
        rising=tuple(level for level in rises if level != _ALL),
        rise=max(rises.values(), default=0.0),
        overall=_ALL in rises,
    )


def _rise(
    lines: Sequence[Mapping[str, Any]], checkpoints: Sequence[Mapping[str, Any]], level: str, error: float
) -> float:
    """By which share the held-out loss at a level has risen, if that is a sign of overfitting; else 0."""
    known = [(line["images"], value) for line in checkpoints if (value := _held_out(line, level)) is not None]
    best_place = min(range(len(known)), key=lambda place: _finite(known[place][1]))
    best_images, best = known[best_place]
    images, loss = known[-1]
    # A loss of 0 has no share of itself to rise by, and one that is not finite has not risen but broken.
    if len(known) - 1 - best_place < _PATIENCE or not (best + error < loss < math.inf and best > 0):
        return 0.0
    then, now = (_training(lines, checkpoints, level, at) for at in (best_images, images))
    falls = then is None or now is None or now < then
    return loss / best - 1 if falls else 0.0


def _finite(loss: float) -> float:
    """A loss by which the lowest is found: one that is not finite is never it."""
    return float(loss) if math.isfinite(loss) else math.inf


def _held_out(line: Mapping[str, Any], level: str) -> float | None:
    value = line["validation_loss"] if level == _ALL else line.get("validation_loss_by_sigma", {}).get(level)
    return None if value is None else float(value)


def _training(
    lines: Sequence[Mapping[str, Any]], checkpoints: Sequence[Mapping[str, Any]], level: str, images: int
) -> float | None:
    """Mean loss in training between a checkpoint and the one before it; None if nothing was logged there."""
    since = max((line["images"] for line in checkpoints if line["images"] < images), default=0)
    logged = [line for line in lines if "loss" in line and since < line["images"] <= images]
    values = [line["loss"] if level == _ALL else line.get("loss_by_sigma", {}).get(level) for line in logged]
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def _named(by_sigma: Mapping[float, float]) -> dict[str, float]:
    return {level_name(sigma): value for sigma, value in by_sigma.items()}


def _range(levels: Sequence[str]) -> str:
    short = [f"{float(level):.2g}" for level in levels]
    return short[0] if len(short) == 1 else f"{short[0]} to {short[-1]}"


class Checks:
    """The checks of a run. They read the metrics that are written already and change nothing of the run.

    What is checked is safe on the disk by then, and a check that fails costs its own numbers, not the run: it is told
    as a warning.

    Args:
        state: the training state.
        data: what is trained on.
    """

    def __init__(self, state: TrainingState, data: TrainingData) -> None:
        self._state, self._held_out = state, data.held_out
        config = state.config
        self._memorisation = None
        # One process samples, while the others wait.
        if config.memorisation_samples and state.processes.main:
            self._memorisation = MemorisationCheck(
                data.train, config.memorisation_samples, config.sigma_data, data.scaling
            )
        self._said: set[str] = set()

    def run(self, model: Denoiser, lines: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
        """Check the averaged weights. All processes take part.

        Args:
            model: the denoiser with them.
            lines: of metrics.jsonl so far; empty in all processes but the first, where what is returned is used.

        Returns:
            values for a line of metrics.jsonl, and warnings; each kind of warning is given once.
        """
        values: dict[str, Any] = {}
        warnings: list[str] = []
        for kind, check in (("overfitting", self._overfitting), ("memorisation", self._copies)):
            try:
                found, warning = check(model, lines)
            except ConnectionError:  # another process of the run has failed, which ends all
                raise
            except Exception as error:
                found, warning = {}, f"the check for {kind} is left out: {' '.join(str(error).split())}"
                kind += " left out"
            values |= found
            if warning is not None and kind not in self._said:
                self._said.add(kind)
                warnings.append(warning)
        return values, warnings

    @property
    def wanted(self) -> bool:
        """True if there is anything to check."""
        return self._held_out is not None or self._state.config.memorisation_samples > 0

    def _overfitting(self, model: Denoiser, lines: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], str | None]:
        if self._held_out is None:
            return {}, None
        losses = validate(self._state, model, self._held_out)
        trend = held_out_trend(lines, self._state.images_seen, losses)
        values = {
            "validation_loss": losses.mean,
            "validation_loss_by_sigma": losses.by_sigma,
            "validation_error_by_sigma": losses.error_by_sigma,
            "validation_best": trend.best,
            "validation_best_images": trend.best_images,
            "overfitting_levels": len(trend.rising),
        }
        return values, trend.warning

    def _copies(self, model: Denoiser, lines: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], str | None]:
        if self._memorisation is None:
            return {}, None
        found = self._memorisation(model)
        values = {
            "memorised_fraction": found.fraction,
            "nearest_ratio": found.ratio,
            "memorised_fraction_real": found.real_fraction,
            "nearest_ratio_real": found.real_ratio,
        }
        return {name: value for name, value in values.items() if value is not None}, found.warning


def has_checks(run_dir: Path, images_seen: int) -> bool:
    """True if metrics.jsonl has a line about the checks after so many images."""
    return any(
        line["images"] == images_seen and any(name in line for name in ("validation_loss", "memorised_fraction"))
        for line in metrics_until(run_dir, images_seen)
    )
