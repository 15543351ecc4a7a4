"""Evaluation of a model of conditions on pairs: what ``elucidiff evaluate`` does with one."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import elucidiff
from elucidiff import parts
from elucidiff.data.dataset import Dataset
from elucidiff.data.given import ConditionScaling, given_with
from elucidiff.data.scaling import scaling_of
from elucidiff.data.subsets import evenly_spread
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.opening import load, load_guide
from elucidiff.evaluation.pairs.scores import PairMetric, Score, scores
from elucidiff.files import write_whole
from elucidiff.launch.interrupt import Watch
from elucidiff.launch.output_folder import held
from elucidiff.networks import resampled
from elucidiff.sampling.sampler import Sampler, SamplerChoice

RESULTS, TABLE = "pairs.json", "pairs.md"
METRICS = ("rmse", "rmse_single", "crps", "spread_skill")
"""The metrics that are measured where nobody chooses."""
_OF_POINTS = ("rmse", "mae")
_AT_ONCE = 64


@dataclass(frozen=True)
class PairEvaluation:
    """Scores of samples for conditions.

    Attributes:
        scores: each metric over all values; ``rmse[0]`` is that of channel 0, where there are several.
        baseline: the same of the condition, enlarged by cubic convolution, where it is of the same channels at a
            lower resolution; empty otherwise. Of a point forecast, CRPS is the mean absolute error.
        conditions: how many.
        members: samples for each.
        nfe: network evaluations of a sample.
        units: of the values.
        facts: all that decides the results, JSON-able.
        distances: metrics of the first samples against the images, where they were asked for.

    >>> import elucidiff as ed
    >>> scores = {"rmse": ed.evaluation.Score(0.2, 0.01)}
    >>> found = ed.evaluation.PairEvaluation(scores, {}, conditions=8, members=4, nfe=35, units="in kelvin", facts={})
    >>> found["rmse"].value, "4 samples for each of 8 conditions" in found.to_markdown()
    (0.2, True)
    """

    scores: Mapping[str, Score]
    baseline: Mapping[str, Score]
    conditions: int
    members: int
    nfe: float
    units: str
    facts: Mapping[str, Any]
    distances: Mapping[str, Score] = field(default_factory=dict)

    def __getitem__(self, metric: str) -> Score:
        """A metric by its name: its ``value`` and ``error``."""
        return self.scores[metric] if metric in self.scores else self.distances[metric]

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        plain: dict[str, Any] = json.loads(json.dumps(_plain(asdict(self))))
        return plain

    def to_markdown(self) -> str:
        """The table and what it is of."""
        head = f"{self.members} samples for each of {self.conditions:,} conditions, {self.nfe:g} network evaluations "
        lines = [f"{head}a sample; values {self.units}; errors are over conditions.", ""]
        lines += ["| metric | samples | standard error | bicubic | standard error |", "|---|---|---|---|---|"]
        for name, found in self.scores.items():
            other = self.baseline.get(name)
            beside = "| |" if other is None else f"{other.value:.4g} | {other.error:.2g} |"
            lines.append(f"| {name} | {found.value:.4g} | {found.error:.2g} | {beside}")
        lines += [f"| {name} | {one.value:.4g} | {one.error:.2g} | | |" for name, one in self.distances.items()]
        if "crps" in self.baseline:
            lines += ["", "CRPS is the fair estimator; of bicubic, a point forecast, it is the mean absolute error."]
        return "\n".join(lines) + "\n"

    def save(self, folder: Path) -> None:
        """Write ``pairs.json`` and ``pairs.md``.

        Raises:
            OSError: one cannot be written.
        """
        write_whole(folder / TABLE, self.to_markdown())
        write_whole(folder / RESULTS, json.dumps(self.to_dict(), indent=1) + "\n")


def evaluate_pairs(
    model: str | os.PathLike[str] | DenoiserModule,
    pairs: Dataset,
    *,
    metrics: Sequence[str | PairMetric] = METRICS,
    per_condition: int = 8,
    count: int | None = None,
    sampler: SamplerChoice = None,
    guide: Path | DenoiserModule | None = None,
    batch_size: int = 16,
    device: str = "auto",
    distances: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    watch: Watch | None = None,
) -> PairEvaluation:
    """Measure samples for conditions against the images that the conditions are of, best of pairs held out.

    Sample m of condition k is that of seed k M + m. Values are in the units of the data.

    Args:
        model: what :func:`elucidiff.load` opens, or a denoiser that takes a field.
        pairs: images with conditions.
        metrics: parts of the kind ``pair metric``, or their names.
        per_condition: samples for each condition, M.
        count: take so many pairs, evenly spread (all).
        sampler: how to draw (the model's usual way).
        guide: the worse model of autoguidance.
        batch_size: samples in one call of the network.
        device: where to compute.
        distances: arguments of :func:`.evaluate`, such as ``{"metrics": "fid", "extractor": "pca-20"}``, for
            distances between the first sample for each condition and the images, too.
        out: folder for ``pairs.json`` and ``pairs.md``; None keeps nothing.
        watch: is told how it goes, and may end it.

    Raises:
        ValueError: the model takes no conditions, or others than these; too few samples for a metric; no such metric.
        OSError: something cannot be read or written.

    >>> import elucidiff as ed
    >>> network = ed.networks.build("mp_unet:base_channels=8,channel_multipliers=1,condition_channels=1", (1, 8, 8))
    >>> model = ed.Denoiser(network, ed.preconditioning.EDM())
    >>> model.facts["data"] = {"condition_shape": [1, 2, 2]}
    >>> pairs = ed.data.open("digits", condition="downsample:4")
    >>> found = ed.evaluation.evaluate_pairs(model, pairs, count=4, per_condition=2, sampler="steps=karras:n=2")
    >>> found.conditions, found["rmse"].value > found.baseline["rmse"].value  # it was not trained
    (4, True)
    """
    watch = watch or Watch()
    place = None if isinstance(model, DenoiserModule) else model
    denoiser = model if isinstance(model, DenoiserModule) else load(model, device)
    if count is not None:
        if not 1 <= count <= len(pairs):
            raise ValueError(f"--images is {count}, but there are {len(pairs):,} pairs")
        pairs = pairs.select(evenly_spread(np.arange(len(pairs)), count))
    chosen = {
        metric if isinstance(metric, str) else parts.to_text(metric): parts.resolve("pair metric", metric)
        for metric in metrics
    }
    _check(denoiser, pairs, chosen, per_condition)
    choices = Sampler.chosen(sampler, denoiser)
    guided_by = guide
    if guide is not None and not isinstance(guide, DenoiserModule):
        guided_by = load_guide(guide, place, denoiser.device)
    assert guided_by is None or isinstance(guided_by, DenoiserModule)
    drawn, nfe = _drawn(denoiser, pairs, choices, guided_by, per_condition, batch_size, watch)
    truth = pairs.images()
    members = drawn.reshape(len(pairs), per_condition, *truth.shape[1:])
    point = _enlarged(pairs)
    several = truth.shape[1] > 1 and truth.dtype != torch.uint8
    facts = {
        "elucidiff": elucidiff.__version__,
        "pairs": pairs.name,
        "sha256": pairs.verify().sha256,
        "sampler": choices.to_plain(),
        "batch_size": batch_size,
        **({} if place is None else {"model": str(place)}),
    }
    found = PairEvaluation(
        _with_channels(chosen, members.double(), truth.double(), several),
        {} if point is None else _of_point(chosen, point, truth.double(), several),
        len(pairs),
        per_condition,
        nfe,
        scaling_of(denoiser).units,
        facts,
        {} if distances is None else _distances(members[:, 0], pairs, distances),
    )
    if out is not None:
        with held(Path(out)):
            found.save(Path(out))
    return found


def _check(denoiser: DenoiserModule, pairs: Dataset, metrics: Mapping[str, PairMetric], members: int) -> None:
    """Refuse what does not fit, before anything is drawn."""
    shape = denoiser.known_labels.field
    if not shape:
        raise ValueError("the model makes samples without conditions, so there is nothing to compare pair by pair")
    if not pairs.condition_shape:
        raise ValueError(f"{pairs.name} has no conditions: name them with --condition")
    if pairs.condition_shape != shape:
        raise ValueError(
            f"the conditions of {pairs.name} have shape {pairs.condition_shape}, but the model was trained with "
            f"{shape}"
        )
    expected = scaling_of(denoiser).data_shape(denoiser.sample_shape)
    if pairs.shape != tuple(expected):
        raise ValueError(
            f"the images of {pairs.name} have shape {pairs.shape}, but the model makes {tuple(expected)}"
        )
    if members < 1:
        raise ValueError(f"--per-condition is {members}, but must be at least 1")
    for name, metric in metrics.items():
        if members < metric.fewest:
            raise ValueError(f"{name} needs at least {metric.fewest} samples for each condition: --per-condition")


def _drawn(
    denoiser: DenoiserModule,
    pairs: Dataset,
    sampler: Sampler,
    guide: DenoiserModule | None,
    members: int,
    batch_size: int,
    watch: Watch,
) -> tuple[Tensor, float]:
    """All samples, in the type and the units of the data, condition by condition; and network evaluations of each."""
    scaling, conditions = scaling_of(denoiser), ConditionScaling.of(denoiser)
    total, found, nfe = len(pairs) * members, [], []

    def given(places: range) -> Conditions | None:
        labels: Conditions | None = given_with(pairs, conditions, torch.tensor(places) // members)
        if labels is not None and not denoiser.known_labels.dim:
            labels = {name: value for name, value in labels.items() if name == "field"}  # type: ignore[union-attr]
        return labels

    options: dict[str, Any] = {"batch_size": batch_size, "guide": guide, "any_class": True}
    with watch.bar("sampling", total, "images") as bar:
        for part in sampler.run_in_parts(
            denoiser, range(total), given, at_once=_AT_ONCE, before=watch.stop_if_asked, **options
        ):
            found.append(scaling.to_data(part.x.cpu()))
            nfe.append(part.nfe_each)
            bar.advance(len(part.x))
    return torch.cat(found), float(torch.cat(nfe).double().mean())


def _with_channels(
    metrics: Mapping[str, PairMetric], members: Tensor, truth: Tensor, several: bool
) -> dict[str, Score]:
    found = scores(metrics, members, truth)
    for channel in range(truth.shape[1]) if several else ():
        part = slice(channel, channel + 1)
        one = scores(metrics, members[:, :, part], truth[:, part])
        found |= {f"{name}[{channel}]": value for name, value in one.items()}
    return found


def _of_point(metrics: Mapping[str, PairMetric], point: Tensor, truth: Tensor, several: bool) -> dict[str, Score]:
    """Scores of one forecast for each condition, as far as they mean something for one."""
    chosen = {name: metric for name, metric in metrics.items() if name in _OF_POINTS}
    if "crps" in metrics:
        chosen["crps"] = parts.resolve("pair metric", "mae")
    return _with_channels(chosen, point[:, None], truth, several) if chosen else {}


def _enlarged(pairs: Dataset) -> Tensor | None:
    """The conditions at the size of the images, where they are such images at a lower resolution."""
    fields, (channels, *sides) = pairs.conditions(), pairs.shape
    if fields is None or fields.shape[1] != channels or fields.dtype != pairs.dtype:
        return None
    if all(small >= side for small, side in zip(fields.shape[2:], sides, strict=True)):
        return None
    enlarged = resampled(fields.double(), sides)
    return enlarged.clamp(0, 255) if pairs.dtype == torch.uint8 else enlarged


def _distances(first: Tensor, pairs: Dataset, choices: Mapping[str, Any]) -> dict[str, Score]:
    from elucidiff.evaluation.quality.evaluation import evaluate  # which takes a moment

    images = Dataset.from_arrays(first, name="samples")
    quality = evaluate(images, pairs.without_labels().without_conditions(), **choices).quality
    return {name: Score(one.value, one.error) for name, one in quality.metrics.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
