"""The samplers of a model that was tuned for few evaluations: noise levels chosen by the quality of samples.

There is no exact solution to come close to, as for a model with an ODE: D is its own answer. So the levels are chosen
by the Frechet distance of samples to the training images, and measured on seeds that had no part in the choice.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from elucidiff.data import Dataset, scaling_of
from elucidiff.data.given import ConditionScaling, given_with
from elucidiff.data.sources import ArraySource
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.opening import checksum, load
from elucidiff.denoisers.tuned import FEW, SECOND_LEVEL, few_steps
from elucidiff.evaluation.quality.evaluation import evaluate
from elucidiff.sampling.loop import SampleResult
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.saved_samplers import NamedSampler, Quality, load_named, save_named
from elucidiff.sampling.seeds import SeedRanges
from elucidiff.training import TrainingConfig
from elucidiff.training.batches import TrainingData

_LEVELS = (SECOND_LEVEL, 0.4, 0.8, 3.2)
"""Second levels that are tried, over the standard deviation of the data; the first is the usual one."""
_IMAGES, _BLOCKS = 512, 4
_CHOSEN_BY = range(4_000_000, 4_000_000 + _IMAGES)
_MEASURED_BY = tuple(range(5_000_000 + k * _IMAGES, 5_000_000 + (k + 1) * _IMAGES) for k in range(_BLOCKS))
_COMPONENTS, _BATCH = 20, 64


def make_few_samplers(
    run_dir: str | os.PathLike[str], *, dataset: Dataset | None = None, images: int = _IMAGES
) -> Iterator[NamedSampler]:
    """Choose and measure the samplers of a tuning, and keep them as RUN/model/samplers/one.json, two.json, four.json.

    Those that are there for these very weights stay as they are.

    Distances are between 20 principal components of the training images, as those of a run's report.

    Args:
        run_dir: the run folder.
        dataset: what was trained on, where ``config.data`` does not name it.
        images: samples of each distance.

    Yields:
        each when it is kept.

    Raises:
        OSError: the run, or its data, cannot be read, or a sampler not be written.
        ValueError: they are damaged.
    """
    folder = Path(run_dir)
    config = TrainingConfig.load(folder / "config.yaml")
    data = TrainingData.open(config, dataset)
    model, identity = load(folder / "model", config.device), checksum(folder / "model")
    chosen_by, measured_by = _CHOSEN_BY[:images], [block[:images] for block in _MEASURED_BY]
    with tempfile.TemporaryDirectory(prefix="elucidiff-") as cache:
        distance = _Distance(model, data, images, Path(cache))
        for name, n in FEW.items():
            if (kept := _kept(folder / "model", name)) is not None:
                yield kept
                continue
            usual, *others = (
                Sampler(few_steps(n, model.sigma_data, second), solver="consistency") for second in _LEVELS
            )
            tried = [usual, *others] if n > 1 else [usual]
            chosen = min(tried, key=lambda sampler: distance(sampler, chosen_by)) if n > 1 else usual
            measured = [distance(chosen, block) for block in measured_by]
            before = measured if chosen == usual else [distance(usual, block) for block in measured_by]
            quality = Quality(
                f"fid, {distance.extractor}, {data.train.name}",
                statistics.fmean(measured),
                _standard_error(measured),
                statistics.fmean(before),
                _standard_error(before),
                str(SeedRanges.of(seed for block in measured_by for seed in block)),
                len(measured_by),
            )
            seeds = str(SeedRanges.of(chosen_by)) if n > 1 else None
            command = f"make_few_samplers({str(run_dir)!r})"
            named = NamedSampler(name, chosen, identity, n, None, None, None, None, None, seeds, command, quality)
            save_named(folder / "model", named)
            yield named


def _kept(model: Path, name: str) -> NamedSampler | None:
    """The sampler of that name, if it was made for these very weights."""
    try:
        return load_named(model, name)
    except (ValueError, OSError):
        return None


class _Distance:
    """The Frechet distance of a sampler's samples to the training images, between their principal components."""

    def __init__(self, model: DenoiserModule, data: TrainingData, images: int, cache: Path) -> None:
        self._model, self._data, self._cache = model, data, cache
        reference = data.train.pictures or data.train
        self._reference = reference.without_labels()
        most = min(len(reference), images, math.prod(data.shape)) // 2
        self.extractor = f"pca-{max(1, min(_COMPONENTS, most))}"

    def __call__(self, sampler: Sampler, seeds: range) -> float:
        drawn = self._draw(sampler, seeds)
        found = evaluate(drawn, self._reference, metrics=("fid",), extractor=self.extractor, cache=self._cache)
        return float(found["fid"].value)

    def _draw(self, sampler: Sampler, seeds: range) -> Dataset:
        """Samples as the data have them; a model that takes conditions gets those of the held-out pairs in turn."""
        model, pairs = self._model, self._data.held_out or self._data.train
        scaling = ConditionScaling.of(model) if model.known_labels.field else None

        def given(places: range) -> Conditions | None:
            return None if scaling is None else given_with(pairs, scaling, torch.tensor(places) % len(pairs))

        parts = sampler.run_in_parts(model, seeds, given, batch_size=_BATCH)
        return Dataset("samples", ArraySource(np.concatenate([_shown(model, part) for part in parts])))


def _shown(model: DenoiserModule, result: SampleResult) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = scaling_of(model).to_data(result.x.cpu()).numpy()
    return found


def _standard_error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))
