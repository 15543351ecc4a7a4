"""Measurements of an ablation: a model, or the exact denoiser of a data set, and the evaluator of its samples."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import elucidiff
from elucidiff.data import Dataset, Scaling, scaling_of, to_unit
from elucidiff.denoisers.backends import Backend, require_compiler, with_backend
from elucidiff.denoisers.base import DenoiserLike, DenoiserModule
from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.denoisers.opening import checksum, name_of
from elucidiff.evaluation.ablation.cells import SampleEvaluator, Tick
from elucidiff.evaluation.ablation.sampling import SamplingConfiguration
from elucidiff.evaluation.model_and_data import check_shapes, data_name
from elucidiff.evaluation.quality import Evaluator
from elucidiff.evaluation.quality.evaluation import evaluator_against
from elucidiff.evaluation.quality.reference import holds_statistics
from elucidiff.launch.interrupt import Watch
from elucidiff.sampling.checks import NotFiniteError
from elucidiff.sampling.fixed_batch import FixedBatch
from elucidiff.sampling.given import draw_labels_from
from elucidiff.sampling.loop import Step
from elucidiff.sampling.optimise.exact import EndError, ExactSolutions, Run, solve_exactly
from elucidiff.sampling.sde import sample_predictor_corrector, sample_sde
from elucidiff.sampling.seeds import begin

IDEAL = "ideal"


@dataclass(frozen=True)
class StudiedModel:
    """A model, or the exact denoiser of a data set, on its device.

    Attributes:
        denoiser: D.
        name: what to call it.
        checksum: of the model; ``ideal`` for the exact denoiser.
        data: what samples are compared with: a data set, or a file of statistics; None if that was not asked for.
        backend: what computes its network.
        labels: what seeds draw their labels from, as it was asked for.
    """

    denoiser: DenoiserModule
    name: str
    checksum: str
    data: Dataset | Path | None
    backend: Backend = "eager"
    labels: str | None = None

    @property
    def id(self) -> str:
        """Its name in tables of results."""
        return self.name if self.checksum == IDEAL else model_id(self.name, self.checksum)

    @property
    def scaling(self) -> Scaling | None:
        """From the data to what it sees; None for the exact denoiser, which sees them as they are stored."""
        return None if self.checksum == IDEAL else scaling_of(self.denoiser)

    @property
    def facts(self) -> dict[str, Any]:
        """All that decides its samples, and what they are compared with."""
        facts: dict[str, Any] = {"model": self.checksum, "backend": self.backend}
        if self.labels is not None:
            facts["labels"] = self.labels
        if isinstance(self.data, Dataset):
            facts["data"] = {"name": self.data.name, "count": len(self.data), "shape": self.data.shape}
        return facts

    def evaluator(
        self,
        extractor: str,
        metrics: Sequence[str],
        count: int,
        device: torch.device,
        batch_size: int,
        *,
        weights: Path | None = None,
        cache: Path | None = None,
        watch: Watch | None = None,
    ) -> Evaluator | None:
        """The evaluator of its samples, with the features of the reference; see :func:`.open_evaluator`."""
        if self.data is None:
            return None
        return open_evaluator(
            extractor, self.data, metrics, self.denoiser.sample_shape, count, device, batch_size,
            weights=weights, cache=cache, watch=watch, scaling=self.scaling,
        )  # fmt: skip


def not_for_ideal(what: str) -> ValueError:
    """The error of giving what only a model folder has, by the names of the options."""
    return ValueError(f"{what} are for a model, not for {IDEAL}: leave them out")


def open_model(
    model: str,
    data: str | None,
    device: torch.device,
    *,
    evaluated: bool = True,
    backend: Backend = "eager",
    batch_size: int = 64,
    labels: str | None = None,
    any_class: bool = False,
    watch: Watch | None = None,
) -> StudiedModel:
    """Open a model, or the exact denoiser of a data set.

    Args:
        model: what :func:`elucidiff.load` opens; or ``ideal``.
        data: name or path of a data set, or of a file of statistics; None for what the model was trained on.
        device: where to compute.
        evaluated: whether samples are compared with data.
        backend: what computes the network; see :func:`.with_backend`.
        batch_size: images in one call of it.
        labels: what seeds draw their labels from; see :func:`.draw_labels_from`.
        any_class: likewise.
        watch: is told what takes long.

    Raises:
        ValueError: nobody says what data there are, they do not fit the model, or are damaged; or the backend cannot
            compute the network here.
        OSError: something cannot be read.
    """
    if model == IDEAL:
        if data is None or holds_statistics(data):
            raise ValueError(f"{IDEAL} is the exact denoiser of a data set: name one as data, such as digits")
        if backend != "eager":
            raise ValueError(f"the backend {backend} is for networks, and {IDEAL} has none: leave --backend out")
        if labels is not None or any_class:
            raise ValueError(f"--labels are for a model, and {IDEAL} knows none: leave them out")
        dataset = elucidiff.data.open(data)
        posterior = DataPosterior(to_unit(dataset.in_memory().images())).to(device)
        return StudiedModel(posterior, f"{IDEAL}-{Path(dataset.name).name}", IDEAL, dataset)
    denoiser = elucidiff.load(model, device)
    denoiser.known_labels.refuse_field("a study of samples")
    draw_labels_from(denoiser, labels, any_class=any_class)
    source = _data(model, data or data_name(denoiser)) if evaluated else None
    if isinstance(source, Dataset):
        check_shapes(denoiser, source)
    if backend == "compile":
        require_compiler(device)
        (watch or Watch()).note("compiling the network: this takes minutes")
    ready = with_backend(denoiser, backend, batch_sizes=[batch_size])
    return StudiedModel(ready, name_of(model), checksum(model), source, backend, labels)


def _data(model: str, name: str | None) -> Dataset | Path:
    if name is None:
        raise ValueError(f"{model} does not tell what data it is of: name some to compare its samples with")
    return Path(name).expanduser() if holds_statistics(name) else elucidiff.data.open(name)


def model_id(name: str, checksum: str) -> str:
    """Name and the first eight digits of the checksum, as in tables of results."""
    return f"{name}-{checksum[:8]}"


@dataclass(frozen=True)
class Drawn:
    """Some images and their cost.

    Attributes:
        x: samples (B, C, *spatial), float64, in units of the data; None if one of them is not finite.
        nfe: network evaluations per sample, counted.
    """

    x: Tensor | None
    nfe: int


def draw_images(
    configuration: SamplingConfiguration, denoiser: DenoiserLike, seeds: Sequence[int], batch_size: int = 16
) -> Iterator[Drawn]:
    """Draw one image a seed, ``batch_size`` at a time.

    An image depends on its seed, ``batch_size`` and the configuration alone. Equal seeds begin with equal latents and
    labels in all configurations.

    Args:
        configuration: with its number of steps; see :meth:`.SamplingConfiguration.within`.
        denoiser: D, which states its ``sample_shape``; used where it is.
        seeds: one integer an image.
        batch_size: images in every call of the denoiser.

    Raises:
        ValueError: the denoiser supports none of the noise levels, or does not state its ``sample_shape``.
    """
    for start in range(0, len(seeds), batch_size):
        yield _draw(configuration, denoiser, seeds[start : start + batch_size], batch_size)


def _draw(
    configuration: SamplingConfiguration, denoiser: DenoiserLike, seeds: Sequence[int], batch_size: int
) -> Drawn:
    sampler, nfe = configuration.sampler, 0

    def count(step: Step) -> None:
        nonlocal nfe
        nfe = int(torch.as_tensor(step.nfe).max())

    try:
        if configuration.method == "sampler":
            result = sampler.run(denoiser, seeds, batch_size=batch_size, callback=count, guide=configuration.guide)
            return Drawn(result.x, nfe)
        return Drawn(_baseline(configuration, denoiser, seeds, batch_size, count), nfe)
    except NotFiniteError:
        return Drawn(None, nfe)


def _baseline(
    configuration: SamplingConfiguration,
    denoiser: DenoiserLike,
    seeds: Sequence[int],
    batch_size: int,
    count: Callable[[Step], None],
) -> Tensor:
    """Samples of a method that is no :class:`.Sampler`."""
    beginning, prepared = begin(denoiser, seeds, None, None, None), configuration.sampler.prepare(denoiser)
    choices: dict[str, Any] = {"labels": beginning.labels, "noise": beginning.noise, "callback": count}
    method: Callable[..., Tensor] = sample_predictor_corrector
    if configuration.method == "sde":
        method, choices["schedule"] = sample_sde, prepared.schedule
    return method(FixedBatch(denoiser, batch_size), beginning.latents, prepared.sigmas, **choices)


def evaluate_images(
    evaluator: SampleEvaluator,
    configuration: SamplingConfiguration,
    denoiser: DenoiserLike,
    seeds: Sequence[int],
    batch_size: int,
    tick: Tick,
) -> tuple[Mapping[str, float], int]:
    """Draw one image a seed, and evaluate them; images themselves are not kept.

    Args:
        evaluator: of samples.
        configuration: with its number of steps.
        denoiser: D.
        seeds: one integer an image.
        batch_size: images in every call of the denoiser.
        tick: told about progress before each batch.

    Returns:
        the metrics, NaN where samples are not finite; and network evaluations per sample.
    """
    features, nfe, done = [], 0, 0
    tick(0.0)
    for drawn in draw_images(configuration, denoiser, seeds, batch_size):
        if drawn.x is None:
            return dict.fromkeys(evaluator.metrics, float("nan")), drawn.nfe
        features.append(np.asarray(evaluator.features(drawn.x), dtype=np.float64))
        nfe, done = drawn.nfe, done + len(drawn.x)
        tick(done / len(seeds))
    return evaluator.values(np.concatenate(features)), nfe


NONE = "none"


def open_evaluator(
    extractor: str,
    source: Dataset | Path,
    metrics: Sequence[str],
    shape: Sequence[int],
    count: int,
    device: torch.device,
    batch_size: int,
    *,
    weights: Path | None = None,
    cache: Path | None = None,
    watch: Watch | None = None,
    scaling: Scaling | None = None,
) -> Evaluator | None:
    """An evaluator that compares samples with a data set, or with statistics; None for the extractor ``none``.

    Args:
        extractor: see :func:`.extractor_by_name`.
        source: the reference; see :func:`.open_reference`.
        metrics: by name.
        shape: of a sample, (C, *spatial).
        count: samples that are evaluated together.
        device: where to compute features.
        batch_size: samples in one call of the extractor.
        weights: of the extractor, where they are not to be fetched.
        cache: folder for features of data sets.
        watch: is told how it goes, and may end it between batches of the reference.
        scaling: of the samples; see :class:`.Evaluator`.

    Raises:
        ValueError: there is no such extractor or metric, it cannot describe such data, or there are too few samples.
        OSError: weights are missing, or features cannot be kept.
    """
    if extractor == NONE:
        return None
    # Of statistics nobody knows what they were made of; pictures have 8 bits.
    dtype = source.dtype if isinstance(source, Dataset) else torch.uint8
    return evaluator_against(
        source, metrics, shape, dtype, count, extractor, device,
        weights=weights, batch_size=batch_size, cache=cache, watch=watch, scaling=scaling,
    )  # fmt: skip


class TruncationErrors:
    """Root mean square distances to the exact solution from the same latents, in units of the data.

    A sampler is compared with the solution between its own highest and lowest noise level. So what is measured is how
    well it solves its ODE; what another range does to the samples is up to metrics of images.

    Args:
        denoiser: D.
        batch_size: samples in one call of it.
    """

    def __init__(self, denoiser: DenoiserLike, batch_size: int = 16) -> None:
        self._denoiser, self._batch_size = denoiser, batch_size
        self._seeds: list[int] = []
        self._solved: dict[Hashable, ExactSolutions] = {}

    def __call__(self, configuration: SamplingConfiguration, seeds: Sequence[int]) -> Run:
        """Measure a deterministic configuration; see :meth:`.SamplingConfiguration.within`.

        The exact solutions are kept until they are asked for with other seeds.

        Raises:
            ValueError: the denoiser gave values that are not finite.
        """
        if list(seeds) != self._seeds:
            self._seeds, self._solved = list(seeds), {}
        target, ode = configuration.guided(self._denoiser), self.ode_of(configuration)
        prepared = configuration.sampler.prepare(target)
        if ode not in self._solved:
            low, high = float(prepared.sigmas[-2]), float(prepared.sigmas[0])
            self._solved[ode] = solve_exactly(target, self._seeds, low, high, batch_size=self._batch_size)
        return EndError(self._solved[ode], prepared.solver, prepared.schedule)(prepared.sigmas)

    def ode_of(self, configuration: SamplingConfiguration) -> Hashable:
        """All that decides the exact solutions of a configuration: its range of noise levels, and its guidance."""
        sampler = configuration.sampler
        sigmas = sampler.sigmas(configuration.guided(self._denoiser))
        return float(sigmas[-2]), float(sigmas[0]), sampler.guidance
