"""What ``data inspect`` prints and writes."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from elucidiff.data.inspecting import Report
from elucidiff.data.inspection import Subject
from elucidiff.evaluation.loss_per_sigma import NoiseUse
from elucidiff.files import write_whole

_LISTED = 10


def write_report(out: Path, subject: Subject, report: Report, use: NoiseUse | None, notes: list[str]) -> None:
    """Print the report, and write it as ``report.txt`` and, with every number and list in full, ``report.json``."""
    write_whole(out / "report.json", json.dumps(as_json(subject, report, use), indent=1))
    text = io.StringIO()
    _print(subject, report, use, [], Console(file=text, width=118))
    write_whole(out / "report.txt", text.getvalue())
    _print(subject, report, use, [*notes, f"{out / 'report.json'}: all of this, and every list in full"], Console())


def as_json(subject: Subject, report: Report, use: NoiseUse | None) -> dict[str, Any]:
    """The report as JSON-able values. Images are called by their files, or by their numbers."""
    values = asdict(report)
    values["sizes"] = {_shape(size): count for size, count in report.sizes.items()}
    for name in ("duplicates", "near_duplicates"):
        values[name] = [[subject.name(place) for place in places] for places in values[name]]
    values["notes"] = list(subject.dataset.notes)
    values["unreadable"] = [subject.name(place) for place in report.unreadable]
    if use is not None:
        values["model"] = {**asdict(use), "verdict": use.verdict}
    plain: dict[str, Any] = json.loads(json.dumps(values, default=_plain))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        # JSON has no infinities.
        return [number if np.isfinite(number) else None for number in value.tolist()]
    raise TypeError(f"{type(value).__name__} is not JSON-able")


def _print(subject: Subject, report: Report, use: NoiseUse | None, notes: list[str], console: Console) -> None:
    facts = Table(title=f"{report.name}: {report.count:,} images", show_header=False)
    for name, value in _facts(report):
        facts.add_row(name, value)
    settings = Table("setting", "value", "why", title="Recommended settings")
    for found in report.recommendations:
        settings.add_row(found.setting, f"{found.value:g}", found.reason)
    console.print(facts, settings)
    if use is not None:
        console.print(f"Training noise: {use.verdict}\n", markup=False, highlight=False)
    for note in subject.dataset.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    lists = {
        "broken": list(report.broken),
        "equal": [" = ".join(map(subject.name, group)) for group in report.duplicates],
        "nearly equal": [" ~ ".join(map(subject.name, pair)) for pair in report.near_duplicates],
    }
    for name, entries in lists.items():
        for entry in entries[:_LISTED]:
            console.print(f"{name}: {entry}", markup=False, highlight=False, soft_wrap=True)
        if len(entries) > _LISTED:
            console.print(f"{name}: {len(entries) - _LISTED:,} more in report.json", highlight=False)
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _facts(report: Report) -> list[tuple[str, str]]:
    """What was measured, as rows of a table."""
    counts = report.class_counts
    channels = zip(report.channel_means, report.channel_sigmas, strict=True)
    rows = [
        ("shape and type", f"{_shape(report.shape)}, {report.dtype}"),
        ("sizes", ", ".join(f"{_shape(size)}: {n:,}" for size, n in report.sizes.items())),
        ("mean, standard deviation", f"{report.mean:.3f}, {report.sigma_data:.3f}"),
        ("of each channel", ", ".join(f"{mean:.3f} ± {sigma:.3f}" for mean, sigma in channels)),
        ("values", f"{report.lowest:.3g} to {report.highest:.3g}"),
        ("nearest neighbour, farthest pair", f"{report.nearest_distance:.3g}, {report.largest_distance:.3g}"),
        ("equal images", f"{len(report.duplicates)} groups"),
        ("nearly equal images", f"{len(report.near_duplicates)} pairs{_among(report)}"),
        ("broken images", str(len(report.broken))),
    ]
    if report.hidden:
        hidden = (
            f"{report.hidden:,} images have colours hidden under them, which a model with alpha learns and the "
            "values above include: import with --channels 3 (or 1) lays them on white"
        )
        rows.append(("transparent pixels", hidden))
    if counts:
        rows.append(("classes", f"{len(counts)}, with {min(counts):,} to {max(counts):,} images"))
        if report.class_names:
            named = [f"{name}: {count:,}" for name, count in zip(report.class_names, counts, strict=True)]
            rows.append(("images of each", ", ".join(named[:_LISTED]) + (", ..." if len(named) > _LISTED else "")))
    elif report.label_dim:
        length = report.label_length
        scale = "" if 0.5 < length < 2 else ": divide them by it, networks start out for a length of 1"
        rows.append(("label vectors", f"{report.label_dim} numbers, of r.m.s. length {length:.3g}{scale}"))
    return rows


def _among(report: Report) -> str:
    return f" among {report.compared:,} of them" if 0 < report.compared < report.count else ""


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
