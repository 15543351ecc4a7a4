"""The two kinds of ablation: one model and many ways to sample from it, and many trainings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from elucidiff.denoisers.base import DenoiserLike
from elucidiff.denoisers.opening import load
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.evaluation.ablation.cells import (
    LOSS,
    TRUNCATION,
    Cell,
    Measured,
    SampleEvaluator,
    Tick,
    seconds_per_evaluation,
    seconds_per_training_image,
)
from elucidiff.evaluation.ablation.measure import TruncationErrors, evaluate_images
from elucidiff.evaluation.ablation.sampling import SamplingConfiguration
from elucidiff.evaluation.loss_per_sigma import loss_per_sigma
from elucidiff.evaluation.results import sampler_columns
from elucidiff.launch.interrupt import StoppedError
from elucidiff.sampling.optimise.exact import FINE_STEPS
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import SeedRanges
from elucidiff.training import Callbacks, Progress, train
from elucidiff.training.batches import TrainingData
from elucidiff.training.config import TrainingConfig


class SamplingAblation:
    """Some configurations at some budgets, on blocks of seeds that all of them share.

    Args:
        denoiser: D, which states its ``sample_shape``; used where it is.
        configurations: the rows.
        budgets: network evaluations per sample.
        blocks: how many blocks of seeds there are; an error needs two.
        images: in each block.
        exact_images: how many of them are compared with exact solutions, which cost 128 evaluations each; 0 for none.
        evaluator: metrics of images; None for the truncation error alone.
        first_seed: of the first block.
        batch_size: images in every call of the denoiser.
        strict: whether it is an error that a configuration cannot be had within a budget; else that is left out.

    Attributes:
        left_out: why, by configuration and budget.

    Raises:
        ValueError: there is nothing to measure, a number is out of its range, or a budget is too small.
    """

    unit = "evaluations"

    def __init__(
        self,
        denoiser: DenoiserLike,
        configurations: Sequence[SamplingConfiguration],
        budgets: Sequence[int],
        *,
        blocks: int = 3,
        images: int = 512,
        exact_images: int = 64,
        evaluator: SampleEvaluator | None = None,
        first_seed: int = 0,
        batch_size: int = 16,
        strict: bool = True,
    ) -> None:
        if not configurations or not budgets or len(set(budgets)) < len(budgets):
            raise ValueError(f"budgets are {tuple(budgets)}: choose some numbers of evaluations, each once")
        if blocks < 1 or images < 2 or not 0 <= exact_images <= images:
            raise ValueError(
                f"{blocks} blocks of {images} images, {exact_images} of them compared with exact solutions, make no "
                "measurement: choose at least 1 block, 2 images, and no more exact ones"
            )
        if evaluator is None and not exact_images:
            raise ValueError("there is neither an evaluator nor a truncation error to measure: choose one")
        self._denoiser, self._evaluator, self._batch_size = denoiser, evaluator, batch_size
        self._blocks = blocks
        self._images, self._exact_images, self._first_seed = images, exact_images, first_seed
        self.left_out: dict[tuple[str, int], str] = {}
        self._made = self._within(configurations, budgets, strict)
        # Batches are filled up with copies, which cost as much as images.
        self._truncation = TruncationErrors(denoiser, min(batch_size, exact_images or batch_size))

    def cells(self) -> list[Cell]:
        """See :class:`.Ablation`."""
        return [Cell(name, budget, seed) for seed in range(self._blocks) for name, budget in self._made]

    def metrics(self, cell: Cell) -> list[str]:
        """See :class:`.Ablation`."""
        exact = self._exact_images and self._made[cell.configuration, cell.nfe].deterministic
        return [*([TRUNCATION] if exact else []), *(self._evaluator.metrics if self._evaluator else ())]

    def columns(self, cell: Cell, metric: str) -> dict[str, Any]:
        """See :class:`.Ablation`."""
        configuration, seeds = self._made[cell.configuration, cell.nfe], self.seeds_of(cell)
        exact = metric == TRUNCATION
        made = sampler_columns(configuration.sampler, configuration.guided(self._denoiser))
        return {
            **(made if configuration.method == "sampler" else made | {"solver": configuration.method}),
            "seeds": str(seeds[: self._exact_images] if exact else seeds),
            "images": self._exact_images if exact else self._images,
            "lower_is_better": exact or self._evaluator is None or self._evaluator.metrics[metric],
        }

    def seeds_of(self, cell: Cell) -> SeedRanges:
        """The seeds of a cell's images."""
        start = self._first_seed + cell.seed * self._images
        return SeedRanges([range(start, start + self._images)])

    def measure(self, cell: Cell, metrics: Sequence[str], tick: Tick) -> Measured:
        """See :class:`.Ablation`.

        Raises:
            ValueError: the denoiser gave values that are not finite where an exact solution was wanted.
        """
        begun = time.monotonic()
        configuration, seeds = self._made[cell.configuration, cell.nfe], self.seeds_of(cell)
        values: dict[str, float] = {}
        nfe = 0
        tick(0.0)
        if TRUNCATION in metrics:
            run = self._truncation(configuration, seeds[: self._exact_images])
            values[TRUNCATION], nfe = run.error, run.nfe
        if self._evaluator is not None and any(name in metrics for name in self._evaluator.metrics):
            found, nfe = evaluate_images(
                self._evaluator, configuration, self._denoiser, seeds, self._batch_size, tick
            )
            values |= found
        return Measured(values, nfe, time.monotonic() - begun)

    def work(self, cell: Cell) -> float:
        """See :class:`.Ablation`. The cells of a seed that follow the same ODE share their exact solutions."""
        evaluations = float(cell.nfe * self._images if self._evaluator else 0)
        if TRUNCATION in self.metrics(cell):
            evaluations += self._exact_images * (cell.nfe + self._odes_per_follower * FINE_STEPS)
        return evaluations

    def seconds(self, cell: Cell) -> float:
        """See :class:`.Ablation`."""
        return self.work(cell) * self._seconds_per_evaluation

    def _within(
        self, configurations: Sequence[SamplingConfiguration], budgets: Sequence[int], strict: bool
    ) -> dict[tuple[str, int], SamplingConfiguration]:
        """All configurations within all budgets; what has a cost of its own, once."""
        made = {}
        for each in configurations:
            for budget in [each.cost(self._denoiser)] if each.settled else budgets:
                try:
                    made[each.name, budget] = each if each.settled else each.within(budget, self._denoiser)
                except ValueError as error:
                    if strict:
                        raise
                    self.left_out[each.name, budget] = str(error)
        return made

    @cached_property
    def _odes_per_follower(self) -> float:
        """Number of ODEs solved exactly in a block of seeds, for each configuration that follows one."""
        followers = [each for each in self._made.values() if each.deterministic]
        return len({self._truncation.ode_of(each) for each in followers}) / len(followers)

    @cached_property
    def _seconds_per_evaluation(self) -> float:
        return seconds_per_evaluation(self._denoiser, self._batch_size)


LOSS_LEVELS = 32


class TrainingAblation:
    """Some configurations of training, each with some seeds.

    Seed k is the seed of a training, of which all configurations have the order of the data in common, and the k-th
    block of image seeds.

    Args:
        configs: settings of each configuration, by name; their seeds are replaced.
        folder: where the run folders are, made if missing: ``NAME-seed-K``.
        recipe: settings by whose p_train and lambda the losses on held-out images are weighed, for all alike.
        data: what is trained on, the same for all.
        sampler: how models are sampled.
        seeds: trainings of each configuration.
        images: evaluated of each training.
        evaluator: metrics of images; None for the held-out loss alone.
        first_seed: of the images.
        batch_size: images in every call of the denoiser.

    Raises:
        ValueError: there is nothing to measure, or a number is out of its range.
    """

    unit = "images"

    def __init__(
        self,
        configs: Mapping[str, TrainingConfig],
        folder: Path,
        recipe: TrainingConfig,
        data: TrainingData,
        sampler: Sampler,
        nfe: int,
        *,
        seeds: int = 3,
        images: int = 1000,
        evaluator: SampleEvaluator | None = None,
        first_seed: int = 0,
        batch_size: int = 16,
    ) -> None:
        if not configs or seeds < 1 or images < 2:
            raise ValueError(
                f"{len(configs)} configurations with {seeds} seeds and {images} images make no measurement: choose "
                "at least 1 configuration, 1 seed and 2 images"
            )
        if evaluator is None and data.held_out is None:
            raise ValueError(
                "there is neither an evaluator nor an image held out: choose an evaluator, or validation_images"
            )
        self._configs, self._folder, self._recipe, self._data = dict(configs), folder, recipe, data
        self._sampling, self._nfe = SamplingConfiguration("sampler", "how models are sampled", sampler), nfe
        self._seeds, self._images, self._evaluator, self._first_seed = seeds, images, evaluator, first_seed
        self._batch_size = batch_size
        self._image_seconds = cache(self._measure_image_seconds)

    def cells(self) -> list[Cell]:
        """See :class:`.Ablation`: all configurations with the first seed come first."""
        return [Cell(name, self._nfe, seed) for seed in range(self._seeds) for name in self._configs]

    def metrics(self, cell: Cell) -> list[str]:
        """See :class:`.Ablation`."""
        return [*([LOSS] if self._data.held_out else []), *(self._evaluator.metrics if self._evaluator else ())]

    def columns(self, cell: Cell, metric: str) -> dict[str, Any]:
        """See :class:`.Ablation`. The model is the run folder, for each cell has one of its own."""
        columns = sampler_columns(self._sampling.sampler, None) | {"model": self.run_folder(cell).name}
        if metric == LOSS or self._evaluator is None:
            return columns | {"images": len(self._data.held_out or ())}
        seeds = str(self._seeds_of(cell))
        return columns | {"images": self._images, "seeds": seeds, "lower_is_better": self._evaluator.metrics[metric]}

    def run_folder(self, cell: Cell) -> Path:
        """The folder of a cell's training."""
        return self._folder / f"{cell.configuration}-seed-{cell.seed}"

    def measure(self, cell: Cell, metrics: Sequence[str], tick: Tick) -> Measured:
        """See :class:`.Ablation`. Trains first, or goes on with a training that was stopped.

        Raises:
            StoppedError: a signal stopped the training; it goes on when the cell is measured again.
            ValueError: as :func:`elucidiff.training.train`.
            OSError: likewise.
        """
        begun = time.monotonic()
        folder = self.run_folder(cell)
        config = replace(self._configs[cell.configuration], seed=cell.seed)
        resume = (folder / "config.yaml").exists()
        tick(0.0)
        result = train(config, folder, resume=resume, callbacks=_Watch(tick))
        if result.interrupted is not None:
            raise StoppedError(result.interrupted)
        denoiser = load(folder / "model", config.device)
        values: dict[str, float] = {}
        configuration = self._sampling.within(self._nfe, denoiser)
        nfe = self._nfe
        if LOSS in metrics:
            values[LOSS] = self._held_out_loss(denoiser)
        if self._evaluator is not None and any(name in metrics for name in self._evaluator.metrics):
            found, nfe = evaluate_images(
                self._evaluator,
                configuration,
                denoiser,
                self._seeds_of(cell),
                self._batch_size,
                lambda share: tick(1.0),
            )
            values |= found
        return Measured(values, nfe, time.monotonic() - begun)

    def work(self, cell: Cell) -> float:
        """See :class:`.Ablation`."""
        return self._configs[cell.configuration].duration_images

    def seconds(self, cell: Cell) -> float:
        """See :class:`.Ablation`."""
        config = self._configs[cell.configuration]
        sampling = self._nfe * self._images * self._image_seconds(cell.configuration) / 3 if self._evaluator else 0
        return config.duration_images * self._image_seconds(cell.configuration) + sampling

    def _seeds_of(self, cell: Cell) -> SeedRanges:
        """The seeds of a cell's images."""
        start = self._first_seed + cell.seed * self._images
        return SeedRanges([range(start, start + self._images)])

    def _measure_image_seconds(self, name: str) -> float:
        return seconds_per_training_image(self._configs[name], self._data)

    def _held_out_loss(self, denoiser: Denoiser) -> float:
        """Karras et al. 2022, Eq. 2 with the recipe's lambda, over quantiles of its p_train, on held-out images."""
        held_out = self._data.held_out
        assert held_out is not None
        objective = self._recipe.objective
        middles = (torch.arange(LOSS_LEVELS, dtype=torch.float64) + 0.5) / LOSS_LEVELS
        sigmas = objective.noise.from_base(torch.special.ndtri(middles))
        device = next(denoiser.parameters()).device
        labels = held_out.labels()
        losses = loss_per_sigma(
            denoiser,
            self._data.scaling.to_model(held_out.images()).to(device),
            sigmas,
            weight=objective.weight,
            generator=torch.Generator().manual_seed(0),
            labels=None if labels is None else labels.to(device),
        )
        return float(losses.mean())


class _Watch(Callbacks):
    """Tells how far a training has come."""

    def __init__(self, tick: Tick) -> None:
        self._tick = tick

    def on_progress(self, progress: Progress) -> None:
        """See :class:`.Callbacks`."""
        self._tick(progress.fraction)
