"""Sections about what was measured of a finished run's model, and what to try next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elucidiff.evaluation.run_quality import QUALITY, RunQuality
from elucidiff.figures import grid, neighbours
from elucidiff.figures.numbers import lines, slices
from elucidiff.figures.page import Picture, Section, Table
from elucidiff.training import TrainingConfig
from elucidiff.training.outlook import outlook

Array = npt.NDArray[Any]
Line = Mapping[str, Any]

_COLUMNS = 8
_TITLES = {"fid": "Frechet distance", "kid": "kernel distance (KID)"}
_WORTH_IT = 0.03
_COPYING = 0.05


def of_quality(run: Path, name: str, config: TrainingConfig, log: Sequence[Line]) -> list[Section]:
    """Samples, distances with error bars, nearest training images, advice; nothing where nothing was measured.

    Args:
        run: the run folder.
        name: what to add to titles.
        config: the settings of the run.
        log: the lines of its metrics.jsonl.

    Raises:
        ValueError: what was measured is damaged.
        OSError: it cannot be read.
    """
    if not (run / QUALITY).exists():
        return []
    found = RunQuality.load(run)
    sections = [_samples(found, run, name), _distances(found, run, name, config.data), *_memory(found, name)]
    advice = "\n\n".join(next_steps(run, config, log, found))
    return [*sections, Section(f"What to try next{name}", advice)]


def _samples(found: RunQuality, run: Path, name: str) -> Section:
    shown = len(found.samples)
    text = f"""
        The first {shown} of {found.facts["samples"]} samples, in the order of their seeds; none were left out. Each
        took {found.facts["nfe"]:g} network evaluations.
        """
    sampler = found.facts["sampler"]
    return Section(
        f"Samples{name}", text, Picture.of(_sheet(found.samples), "Samples in a grid"),
        command=shlex.join(
            ["elucidiff", "sample", str(run / "model"), "--seeds", f"0-{shown - 1}", "--sampler", sampler, "--grid"]
        ),
    )  # fmt: skip


def _sheet(samples: Array) -> Any:
    if samples.dtype != np.uint8 and samples.ndim == 3:
        return lines(samples.astype(np.float64), _COLUMNS)
    return grid.draw({"": _viewable(samples)}, columns=_COLUMNS)


def _viewable(samples: Array) -> npt.NDArray[np.uint8]:
    """8-bit pictures as they are, but without alpha; central slices of all else."""
    if samples.dtype == np.uint8 and samples.ndim == 4 and samples.shape[1] in (1, 3, 4):
        return samples
    return slices(samples.astype(np.float64))


def _distances(found: RunQuality, run: Path, name: str, data: str) -> Section:
    facts = found.facts
    text = f"""
        Distances between samples and training images, in {facts["extractor"].removeprefix("pca-")} principal
        components of the latter; 0 would be indistinguishable in these. The line of the held-out images says what
        real ones reach; a Frechet distance grows where images are few, so compare those of equally many, while the
        kernel distance does not. `elucidiff evaluate` with a feature network says more about pictures.
        """
    rows = []
    for metric, title in _TITLES.items():
        for what, values in (("samples", facts["metrics"]), ("held-out images", facts["real"])):
            if metric in values:
                each = values[metric]
                rows.append([title, what, f"{each['value']:.3g} ± {each['error']:.1g}", f"{each['images']:,}"])
    command = shlex.join(["elucidiff", "evaluate", str(run / "model"), data, "--extractor", facts["extractor"]])
    if not rows:
        return Section(f"How good are they?{name}", "There are too few images to compare distributions.")
    return Section(
        f"How good are they?{name}", text, table=Table(["distance", "of", "value", "images"], rows), command=command
    )


def _memory(found: RunQuality, name: str) -> Iterator[Section]:
    share = found.facts["closer_than_real"]
    text = "How far each sample is from the training image nearest to it."
    if share is not None:
        text += f"""
            A model that copies its training set would show samples much closer to it than unseen real images are. Of
            the held-out images 5% lie within a certain distance of a training image; of the samples, {share:.0%} do.
            """
    known = {"samples": found.distances}
    if len(found.real_distances):
        known["held-out images"] = found.real_distances
    if found.samples.ndim != 4 or len(found.closest) < 2:
        rows = [[what, f"{np.median(values):.3g}", f"{values.min():.3g}"] for what, values in known.items()]
        yield Section(f"Memory or learning?{name}", text, table=Table(["", "median distance", "smallest"], rows))
        return
    figure = neighbours.draw(known, _viewable(found.closest), _viewable(found.nearest))
    yield Section(
        f"Memory or learning?{name}", text,
        Picture.of(figure, "Distributions of nearest-neighbour distances, and the closest pairs"),
    )  # fmt: skip


def next_steps(run: Path, config: TrainingConfig, log: Sequence[Line], found: RunQuality) -> Iterator[str]:
    """What is most likely to make a better model, a paragraph each.

    Args:
        run: the run folder.
        config: the settings of the run.
        log: the lines of its metrics.jsonl.
        found: what was measured.
    """
    checked = next((line for line in reversed(log) if "validation_loss" in line), {})
    data, minutes = shlex.quote(config.data), config.max_minutes
    overfits = bool(checked.get("overfitting_levels"))
    share = found.facts["closer_than_real"]
    if overfits:
        also = ", or augmentation." if config.augment.off else "; dropout (`--network.dropout 0.1`) helps, too."
        yield (
            f"It has overfitted: the held-out loss was lowest after {checked['validation_best_images']:,} images. "
            f"The model of then is in `{run / 'best'}`: sample from that one. More images help most{also}"
        )
    if share is not None and share > 0.05 + _COPYING:
        yield (
            f"{share:.0%} of the samples are closer to a training image than all but 5% of unseen ones are: train "
            "for a shorter time, or on more images."
        )
    ahead = None if overfits else outlook(log)
    if ahead is not None:
        gain = 1 - ahead.twice / ahead.now
        if gain >= _WORTH_IT and minutes is not None:
            yield (
                f"More time pays: {ahead.text}. `elucidiff train {data} --minutes {2 * minutes:g} --run-dir "
                f"{run.with_name(run.name + '-longer')}` plans for it, with a larger network if that is worth it. "
                "(Going on with this run would raise its learning rate again.)"
            )
        elif gain < _WORTH_IT:
            yield (
                f"The loss has settled: {ahead.text}. A wider network (`--network.base-channels`) or more images "
                "would be next."
            )
    yield (
        f"`elucidiff steps optimise {run / 'model'} --nfe 6` makes a sampler that needs as few evaluations as that, "
        f"and `elucidiff search {run / 'model'}` finds better options for the ones there are: neither trains again."
    )
