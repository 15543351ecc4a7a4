"""``elucidiff data import|inspect``: get pictures ready for training, and learn which settings suit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from elucidiff.cli.arguments import nearest, parse
from elucidiff.cli.progress import Progress

if TYPE_CHECKING:
    from elucidiff.data.inspecting import Report


@dataclass(frozen=True)
class Import:
    """Bring a data set into a folder that training reads by memory mapping. Stopped imports go on where they were."""

    source: tyro.conf.Positional[str]
    """A folder, zip, .npy, .npz or .parquet file, or the name of a standard set."""
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
    workers: int | None = None
    """Threads; by default one a core, or one if the images are small."""

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
            )
        shape = "x".join(map(str, made.shape))
        labels = f", labels of width {made.label_dim}" if made.label_dim else ""
        print(f"{made.count:,} images of {shape}{labels} in {made.folder} (sha256 {made.sha256[:16]}...)")
        for broken in made.skipped:
            print(f"left out: {broken}")
        if made.enlarged:
            print(f"{made.enlarged:,} images were enlarged, which blurs them")


@dataclass(frozen=True)
class Inspect:
    """Measure a data set, find its duplicates and broken images, and recommend settings, each with its reason."""

    source: tyro.conf.Positional[str]
    """A folder, zip, .npy, .npz or .parquet file, or the name of a standard set."""

    def __call__(self) -> None:
        """Inspect, and print the report."""
        from rich.console import Console
        from rich.table import Table

        from elucidiff.data.inspecting import inspect

        with _Stages() as stages:
            report = inspect(self.source, progress=stages)
        console = Console()
        facts = Table(title=f"{report.name}: {report.count:,} images", show_header=False)
        for name, value in _facts(report):
            facts.add_row(name, value)
        settings = Table("setting", "value", "why", title="Recommended settings")
        for found in report.recommendations:
            settings.add_row(found.setting, f"{found.value:g}", found.reason)
        console.print(facts, settings)
        for broken in report.broken:
            console.print(f"broken: {broken}", markup=False)


ACTIONS: dict[str, type[Import] | type[Inspect]] = {"import": Import, "inspect": Inspect}


def run(arguments: Sequence[str]) -> int:
    """Run one of the two actions."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            f"usage: elucidiff data {{{','.join(ACTIONS)}}} SOURCE [options]\n\n"
            "`elucidiff data ACTION --help` explains each."
        )
        return 0 if arguments else 2
    name = arguments[0]
    if name not in ACTIONS:
        raise ValueError(f"unknown action {name!r}; {nearest(name, list(ACTIONS))}")
    kind: type[Any] = ACTIONS[name]
    parse(kind, arguments[1:], prog=f"elucidiff data {name}")()
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


def _facts(report: Report) -> list[tuple[str, str]]:
    """What was measured, as rows of a table."""
    counts = report.class_counts
    rows = [
        ("shape and type", f"{'x'.join(map(str, report.shape))}, {report.dtype}"),
        ("sizes", ", ".join(f"{'x'.join(map(str, size))}: {n:,}" for size, n in report.sizes.items())),
        ("mean, standard deviation", f"{report.mean:.3f}, {report.sigma_data:.3f}"),
        ("of each channel", ", ".join(f"{m:.3f} ± {s:.3f}" for m, s in _channels(report))),
        ("values", f"{report.lowest:.3g} to {report.highest:.3g}"),
        ("nearest neighbour, farthest pair", f"{report.nearest_distance:.3g}, {report.largest_distance:.3g}"),
        ("equal images", f"{len(report.duplicates)} groups"),
        ("nearly equal images", f"{len(report.near_duplicates)} pairs"),
        ("broken images", str(len(report.broken))),
    ]
    if counts:
        rows.append(("classes", f"{len(counts)}, with {min(counts):,} to {max(counts):,} images"))
    return rows


def _channels(report: Report) -> list[tuple[float, float]]:
    return list(zip(report.channel_means, report.channel_sigmas, strict=True))
