"""``elucidiff data import|inspect``: get pictures ready for training, and learn which settings suit them."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from elucidiff.cli.common.progress import Progress
from elucidiff.cli.common.verbs import Actions
from elucidiff.data.reading import Reading
from elucidiff.files import write_whole
from elucidiff.parts import summary

if TYPE_CHECKING:  # they import torch
    from elucidiff.data.inspecting import Report
    from elucidiff.data.inspection import Subject
    from elucidiff.evaluation.loss_per_sigma import NoiseUse

_LISTED = 10


@dataclass(frozen=True)
class Import:
    """Bring a data set into a folder that training reads by memory mapping. Stopped imports go on where they were.

    Examples::

        elucidiff data import photos data/photos --resize 64
        elucidiff data import sprites data/sprites --channels 3 --crop pad --resize 32
        elucidiff data import fields.npz data/fields --condition downsample:4
    """

    source: tyro.conf.Positional[str]
    """A folder, a .zip, .npy, .npz, .parquet, .csv or idx file, or the name of a standard set."""
    out: tyro.conf.Positional[Path]
    """The folder to make."""
    resize: int | None = None
    """Side of the images; left out if they have one size already."""
    crop: Literal["centre", "pad", "stretch", "wide"] = "centre"
    """What to do with other aspect ratios."""
    channels: int | None = None
    """1 for grey, 3 for RGB; left out if all are alike already."""
    skip_broken: bool = False
    """Leave broken images out instead of stopping at the first."""
    condition: str = ""
    """Conditions, fields that images are to be made for: a folder or file of as many, matched by the names of files;
    downsample:4, grayscale or mask:0.25 of the images themselves; or column:NAME of the same .npz or .parquet."""
    condition_resize: int | None = None
    """Side of the conditions (that of the images)."""
    workers: int | None = None
    """Threads; by default one a core, or one if the images are small."""
    encode: str | None = None
    """Import latents of the pictures, for a model of these: an autoencoder, as a folder with an encoder and a decoder
    in ONNX (or the two files with a comma between them), a folder of a diffusers VAE, or a part of your own. The
    pictures are kept beside them."""
    sampled: bool = False
    """With --encode: draw each latent from the distribution that the encoder gives, instead of taking its mean."""
    reading: Annotated[Reading, tyro.conf.arg(name="")] = field(default_factory=Reading)

    def __call__(self) -> None:
        """Import, and say what was made."""
        # Imported here, and without torch, which would take most of the memory that an import needs.
        from elucidiff.data.importing import import_dataset

        importing = import_dataset
        if self.encode is not None:
            from elucidiff.data.encoding import import_latents

            importing = functools.partial(import_latents, autoencoder=self.encode, sampled=self.sampled)
        elif self.sampled:
            raise ValueError("--sampled is about latents: name an autoencoder with --encode, or leave it out")
        with _Stages() as stages:
            made = importing(
                self.source,
                self.out,
                resize=self.resize,
                crop=self.crop,
                channels=self.channels,
                skip_broken=self.skip_broken,
                workers=self.workers,
                progress=stages,
                reading=self.reading,
                condition=self.condition,
                condition_resize=self.condition_resize,
            )
        shape = "x".join(map(str, made.shape))
        labels = f", labels of width {made.label_dim}" if made.label_dim else ""
        fields = "x".join(map(str, made.condition_shape))
        labels += f", conditions of {fields}" if fields else ""
        what = "images" if self.encode is None else "latents"
        print(f"{made.count:,} {what} of {shape}{labels} in {made.folder} (sha256 {made.sha256[:16]}...)")
        for note in made.notes:
            print(note)
        for broken in made.skipped:
            print(f"left out: {broken}")
        if made.enlarged:
            print(f"{made.enlarged:,} images were enlarged, which blurs them")


@dataclass(frozen=True)
class Inspect:
    """Measure a data set, find its duplicates and broken images, and recommend settings, each with its reason.

    With a trained model, its loss at every noise level is compared with the ideal, and its training noise assessed.

    Examples::

        elucidiff data inspect photos
        elucidiff data inspect photos --model runs/photos/model
    """

    source: tyro.conf.Positional[str]
    """A folder, a .zip, .npy, .npz, .parquet, .csv or idx file, or the name of a standard set."""
    out: Path | None = None
    """Folder (inspected/NAME) for report.txt, report.json, contact-sheet.png and, of a model, loss-per-sigma.png."""
    model: Path | None = None
    """A model, as for `elucidiff sample`, to see whether P_mean and P_std of its training suit these data."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, mps, or auto for the best there is."""
    reading: Annotated[Reading, tyro.conf.arg(name="")] = field(default_factory=Reading)

    def __call__(self) -> None:
        """Inspect, print the report and write it."""
        import elucidiff
        from elucidiff.data.inspecting import inspect, report_file
        from elucidiff.data.inspection import open_subject
        from elucidiff.evaluation.loss_per_sigma import check_assessable, noise_use_of_data, training_objective
        from elucidiff.figures import contact_sheet, loss_per_sigma
        from elucidiff.figures.style import save

        subject = open_subject(self.source, self.reading)
        model = None if self.model is None else elucidiff.load(self.model, self.device)
        if model is not None:
            check_assessable(model, subject.dataset)
        out = self.out or report_file(subject.dataset.name).parent
        out.mkdir(parents=True, exist_ok=True)
        with _Stages() as stages:
            report = inspect(subject, progress=stages)
            use = None if model is None else noise_use_of_data(model, subject.dataset, report.readable, stages)
        sheet, note = contact_sheet.draw_inspected(subject, report)
        notes = [f"no contact sheet: {note}" if sheet is None else f"{out / 'contact-sheet.png'}: {note}"]
        if sheet is not None:
            save(sheet, out / "contact-sheet.png", formats=("png",))
        if model is not None and use is not None:
            save(loss_per_sigma.draw_use(use), out / "loss-per-sigma.png")
            notes.append(f"{out / 'loss-per-sigma.png'}: loss of the model by noise level")
            if training_objective(model.facts) is None:
                notes.append("the model does not tell its p_train: the paper's, P_mean -1.2, was assumed")
        _write_report(out, subject, report, use, notes)


ACTIONS: dict[str, type[Import] | type[Inspect]] = {"import": Import, "inspect": Inspect}


def run(arguments: Sequence[str]) -> int:
    """Run one of the two actions."""
    actions = Actions("elucidiff data", "action", {name: summary(action) for name, action in ACTIONS.items()})
    actions.made(ACTIONS, arguments)()
    return 0


class _Stages:
    """Progress of work that comes in named stages."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Progress | None = None

    def __enter__(self) -> _Stages:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` images of ``stage`` are finished."""
        if stage != self._stage:
            self.__exit__()
            self._stage, self._bar = stage, Progress(stage, total, "images").__enter__()
        if self._bar is not None:
            self._bar.reach(done)


def _write_report(out: Path, subject: Subject, report: Report, use: NoiseUse | None, notes: list[str]) -> None:
    """Print the report, and write it as ``report.txt`` and, with every number and list in full, ``report.json``."""
    write_whole(out / "report.json", json.dumps(_as_json(subject, report, use), indent=1))
    text = io.StringIO()
    _print(subject, report, use, [], Console(file=text, width=118))
    write_whole(out / "report.txt", text.getvalue())
    _print(subject, report, use, [*notes, f"{out / 'report.json'}: all of this, and every list in full"], Console())


def _as_json(subject: Subject, report: Report, use: NoiseUse | None) -> dict[str, Any]:
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
    if report.dtype != "uint8":
        settings.add_row("normalise", report.normalise, report.normalise_reason)
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
    """The measurements, as rows of a table."""
    counts = report.class_counts
    channels = zip(report.channel_means, report.channel_sigmas, strict=True)
    rows = [
        ("shape and type", f"{_shape(report.shape)}, {report.dtype}"),
        ("sizes", ", ".join(f"{_shape(size)}: {n:,}" for size, n in report.sizes.items())),
        ("mean ± std of each channel", ", ".join(f"{mean:.4g} ± {sigma:.3g}" for mean, sigma in channels)),
        ("values", f"{report.lowest:.3g} to {report.highest:.3g}"),
        ("nearest neighbour, farthest pair", f"{report.nearest_distance:.3g}, {report.largest_distance:.3g}"),
        ("equal images", f"{len(report.duplicates)} groups"),
        ("nearly equal images", f"{len(report.near_duplicates)} pairs{_among(report)}"),
        ("broken images", str(len(report.broken))),
    ]
    if report.missing:
        rows.append(("missing values", f"{report.missing:.2%}, left out of all that is measured"))
    if report.hidden:
        hidden = (
            f"{report.hidden:,} images have colours hidden under them, which the values above include: training "
            "with --normalise transparent makes them white, and import with --channels 3 (or 1) lays all on white"
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
