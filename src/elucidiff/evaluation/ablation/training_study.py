"""Ablations of training: one run a configuration and seed, each judged by what it samples."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from elucidiff.data import to_unit
from elucidiff.denoisers.model_folder import load
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.devices import choose_device
from elucidiff.evaluation.ablation.cells import LOSS, Cell, Measured, SampleEvaluator, Tick
from elucidiff.evaluation.ablation.cost import seconds_per_training_image
from elucidiff.evaluation.ablation.measure import evaluate_images
from elucidiff.evaluation.ablation.sampling import SamplingConfiguration
from elucidiff.evaluation.loss_per_sigma import loss_per_sigma
from elucidiff.evaluation.results import sampler_columns
from elucidiff.launch.interrupt import StoppedError
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import SeedRanges
from elucidiff.training import Callbacks, Progress, train
from elucidiff.training.batches import TrainingData
from elucidiff.training.config import TrainingConfig

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
        images: judged of each training.
        evaluator: figures of quality; None for the held-out loss alone.
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
        self._seeds, self._images, self._judge, self._first_seed = seeds, images, evaluator, first_seed
        self._batch_size = batch_size
        self._image_seconds = cache(self._measure_image_seconds)

    def cells(self) -> list[Cell]:
        """See :class:`.Ablation`: all configurations with the first seed come first."""
        return [Cell(name, self._nfe, seed) for seed in range(self._seeds) for name in self._configs]

    def metrics(self, cell: Cell) -> list[str]:
        """See :class:`.Ablation`."""
        return [*([LOSS] if self._data.held_out else []), *(self._judge.metrics if self._judge else ())]

    def columns(self, cell: Cell, metric: str) -> dict[str, Any]:
        """See :class:`.Ablation`. The model is the run folder, for each cell has one of its own."""
        columns = sampler_columns(self._sampling.sampler, None) | {"model": self.run_folder(cell).name}
        if metric == LOSS or self._judge is None:
            return columns | {"images": len(self._data.held_out or ())}
        seeds = str(self._seeds_of(cell))
        return columns | {"images": self._images, "seeds": seeds, "lower_is_better": self._judge.metrics[metric]}

    def run_folder(self, cell: Cell) -> Path:
        """Where the training of a cell is kept."""
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
        denoiser = load(folder / "model").eval().to(choose_device(config.device))
        figures: dict[str, float] = {}
        configuration = self._sampling.within(self._nfe, denoiser)
        nfe = self._nfe
        if LOSS in metrics:
            figures[LOSS] = self._held_out_loss(denoiser)
        if self._judge is not None and any(name in metrics for name in self._judge.metrics):
            found, nfe = evaluate_images(
                self._judge, configuration, denoiser, self._seeds_of(cell), self._batch_size, lambda share: tick(1.0)
            )
            figures |= found
        return Measured(figures, nfe, time.monotonic() - begun)

    def work(self, cell: Cell) -> float:
        """See :class:`.Ablation`."""
        return self._configs[cell.configuration].duration_images

    def seconds(self, cell: Cell) -> float:
        """See :class:`.Ablation`."""
        config = self._configs[cell.configuration]
        sampling = self._nfe * self._images * self._image_seconds(cell.configuration) / 3 if self._judge else 0
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
            to_unit(held_out.images()).to(device),
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
