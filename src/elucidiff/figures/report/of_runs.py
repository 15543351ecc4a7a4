"""Sections about a training run, what was measured of its model, what to try next, and samples."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from elucidiff import parts
from elucidiff.evaluation.run_quality import QUALITY, RunQuality
from elucidiff.figures import grid, loss_per_sigma, neighbours, training_curves
from elucidiff.figures.field_sheet import draw_fields
from elucidiff.figures.grid import read_samples
from elucidiff.figures.page import Picture, Section, Table
from elucidiff.figures.style import lines, slices
from elucidiff.training import TrainingConfig
from elucidiff.training.outlook import outlook
from elucidiff.untrusted import parse_json

METRICS, CONFIG = "metrics.jsonl", "config.yaml"
"""Files of a run's folder."""

_MOST_SAMPLES = 64

Line = Mapping[str, Any]


def of_run(folder: Path, run: Path) -> list[Section]:
    """Sections about a run: the model's quality, the course of its training, its last losses, the last preview.

    Args:
        folder: what the report is about.
        run: the run folder.

    Raises:
        ValueError: its files are damaged, or it has written no loss yet.
        OSError: they cannot be read.
    """
    config, lines = TrainingConfig.load(run / CONFIG), metric_lines(run / METRICS)
    name = _name(folder, run)
    command = shlex.join(["elucidiff", "train", str(run / CONFIG), "--run-dir", str(run)])
    sections = [
        Section(
            f"Training{name}",
            _about_training(lines),
            Picture.of(training_curves.draw(lines), "Loss against the number of training images seen"),
            _facts(config, lines),
            command,
        )
    ]
    if (losses := _losses(config, lines)) is not None:
        sections.append(
            Section(
                f"Loss by noise level in training{name}", _ABOUT_LOSSES,
                Picture.of(losses, "Loss against noise level above the density of training"), command=command,
            )
        )  # fmt: skip
    sheets = sorted((run / "samples").glob("*.png"))
    if sheets and not (run / "samples" / "samples.json").exists():
        seen = int(sheets[-1].stem) if sheets[-1].stem.isdigit() else lines[-1]["images"]
        sections.append(
            Section(
                f"Samples while training{name}",
                f"""What the averaged model drew after {seen:,} training images, from the same seeds every time,
                so that the sheets in `samples/` can be compared. None were left out; how good they are is for
                `elucidiff evaluate` to say.""",
                Picture.read(sheets[-1], "A sheet of samples"),
                command=command,
            )
        )
    return [*of_quality(run, name, config, lines), *sections]


def of_samples(folder: Path, samples: Path) -> list[Section]:
    """The first pictures of a folder of samples.

    Raises:
        ValueError: they are no pictures, or the record is damaged.
        OSError: they cannot be read.
    """
    found = read_samples(samples, _MOST_SAMPLES)
    shown = len(found.images)
    figure = grid.draw({"": found.images}, columns=max(1, math.ceil(shown**0.5)))
    which = f"The first {shown} of {found.count:,}" if shown < found.count else f"All {shown}"
    text = f"""
        {which} samples, in the order of their seeds; none were left out. Each took {found.nfe:g} network evaluations,
        counted.
        """
    command = shlex.join(["elucidiff", "figure", "grid", str(samples)])
    return [
        Section(f"Samples{_name(folder, samples)}", text, Picture.of(figure, "Samples in a grid"), command=command)
    ]


_ABOUT_LOSSES = """
    The last weighted losses that were written, by noise level, over p_train, from which training draws
    its noise levels (Karras et al. 2022, Fig. 5a). Where the held-out curve lies above the other by more than
    augmentation explains, the network has begun to memorise.
    """


def _about_training(lines: Sequence[Line]) -> str:
    last = next(line for line in reversed(lines) if "loss" in line)
    text = f"""
        The weighted loss of each stretch of the training against the images seen; after {last["images"]:,} images it
        is {last["loss"]:.3g}.
        """
    held_out = [line for line in lines if "validation_loss" in line]
    if held_out:
        best = min(held_out, key=lambda line: float(line["validation_loss"]))
        text += (
            f"On held-out images, which tell learning from memory, it was lowest after {best['images']:,} images, "
            f"with {best['validation_loss']:.3g}."
        )
    if copies := [line for line in lines if "memorised_fraction" in line]:
        share, real = copies[-1]["memorised_fraction"], copies[-1].get("memorised_fraction_real")
        text += f"\n\nOf the last samples {share:.0%} copy training images" + (
            "; there are only two different ones." if real is None else f"; of real images {real:.0%} would."
        )
    return text


def _facts(config: TrainingConfig, lines: Sequence[Line]) -> Table:
    last = next(line for line in reversed(lines) if "seconds" in line)
    rows = [
        ["data", config.data],
        ["network", parts.to_text(config.network)],
        ["preconditioning and loss", f"{parts.to_text(config.preconditioning)}, {parts.to_text(config.objective)}"],
        ["seen", f"{last['images']:,} images in {last['seconds'] / 60:,.1f} minutes"],
    ]
    return Table(["", ""], rows)


def _losses(config: TrainingConfig, lines: Sequence[Line]) -> Any:
    """The figure of the last losses by noise level; None where there are none."""
    names = {"loss_by_sigma": "training images", "validation_loss_by_sigma": "held-out images"}
    last = {
        title: next((line[key] for line in reversed(lines) if line.get(key)), None) for key, title in names.items()
    }
    known = {title: {float(level): loss for level, loss in found.items()} for title, found in last.items() if found}
    sigma = np.array(sorted({level for found in known.values() for level in found}))
    if len(sigma) < 2:
        return None
    curves = {
        title: np.array([found.get(level, math.nan) for level in sigma.tolist()]) for title, found in known.items()
    }
    density = config.objective.noise.log_density(torch.from_numpy(sigma)).exp().numpy()
    return loss_per_sigma.draw(sigma, curves, density)


def metric_lines(path: Path) -> list[Line]:
    """The whole lines of a log; the last may still be on its way."""
    lines: list[Line] = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = parse_json(text, path)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("images"), int):
            lines.append(line)
    if not any("loss" in line for line in lines):
        raise ValueError(f"{path} has no loss yet: let the training go on for a while")
    return lines


def _name(folder: Path, place: Path) -> str:
    """The part of a title that distinguishes folders of one report: the path, unless it is the folder itself."""
    return "" if place == folder else f": {place.relative_to(folder)}"


Array = npt.NDArray[Any]

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
    if samples.dtype != np.uint8 or samples.ndim != 4 or samples.shape[1] not in (1, 3, 4):
        return draw_fields(samples, _COLUMNS)
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
    """Advice that is most likely to make a better model, a paragraph each.

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
