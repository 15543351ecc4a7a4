"""Sections about a training run and about samples."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elucidiff import parts
from elucidiff.figures import grid, loss_per_sigma, training_curves
from elucidiff.figures.grid import read_samples
from elucidiff.figures.page import Picture, Section, Table
from elucidiff.figures.report.finding import CONFIG, METRICS
from elucidiff.figures.report.of_quality import of_quality
from elucidiff.training import TrainingConfig
from elucidiff.untrusted import parse_json

_MOST_SAMPLES = 64

Line = Mapping[str, Any]


def of_run(folder: Path, run: Path) -> list[Section]:
    """What was measured of the model, the course of its training, its last losses by noise level, the last preview.

    Args:
        folder: what the report is about.
        run: the run folder.

    Raises:
        ValueError: its files are damaged, or it has written no loss yet.
        OSError: they cannot be read.
    """
    config, lines = TrainingConfig.load(run / CONFIG), _lines(run / METRICS)
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


def _lines(path: Path) -> list[Line]:
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
