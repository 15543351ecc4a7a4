"""``elucidiff data import|inspect``: get pictures ready for training, and learn which settings suit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from elucidiff.cli.common.progress import Progress
from elucidiff.cli.common.verbs import Actions
from elucidiff.data.reading import Reading
from elucidiff.parts import summary


@dataclass(frozen=True)
class Import:
    """Bring a data set into a folder that training reads by memory mapping. Stopped imports go on where they were."""

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
    reading: Annotated[Reading, tyro.conf.arg(name="")] = field(default_factory=Reading)

    def __call__(self) -> None:
        """Import, and say what was made."""
        # Imported here, and without torch, which would take most of the memory that an import needs.
        from elucidiff.data.importing import import_dataset

        with _Stages() as stages:
            made = import_dataset(
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
        print(f"{made.count:,} images of {shape}{labels} in {made.folder} (sha256 {made.sha256[:16]}...)")
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
        from elucidiff.cli.data.contact_sheet import write_contact_sheet
        from elucidiff.cli.data.noise_use import ModelNoise
        from elucidiff.cli.data.report import write_report
        from elucidiff.data.inspecting import inspect, report_file
        from elucidiff.data.inspection import open_subject

        subject = open_subject(self.source, self.reading)
        model = None if self.model is None else ModelNoise.load(self.model, subject.dataset, self.device)
        out = self.out or report_file(subject.dataset.name).parent
        out.mkdir(parents=True, exist_ok=True)
        with _Stages() as stages:
            report = inspect(subject, progress=stages)
            use = None if model is None else model.measure(report, stages)
        notes = [write_contact_sheet(out / "contact-sheet.png", subject, report)]
        if model is not None and use is not None:
            notes += model.write_figure(out / "loss-per-sigma.png", use)
        write_report(out, subject, report, use, notes)


ACTIONS: dict[str, type[Import] | type[Inspect]] = {"import": Import, "inspect": Inspect}


def run(arguments: Sequence[str]) -> int:
    """Run one of the two actions."""
    actions = Actions("elucidiff data", "action", {name: summary(action) for name, action in ACTIONS.items()})
    name, rest = actions.choose(arguments)
    kind: type[Any] = ACTIONS[name]
    actions.parse(kind, name, rest)()
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
