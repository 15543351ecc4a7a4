"""All that a folder holds about a run, as one page: figures, tables, and what they say."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elucidiff.evaluation.results import CSV
from elucidiff.figures.grid import RECORD
from elucidiff.figures.page import Section, write_page
from elucidiff.figures.report.of_results import of_numbers, of_results
from elucidiff.figures.report.of_runs import CONFIG, METRICS, of_run, of_samples


@dataclass(frozen=True)
class Found:
    """Places, each list sorted.

    Attributes:
        runs: folders of trainings.
        tables: folders with a table of results.
        numbers: files with the numbers of a figure.
        samples: folders of samples with a record.
    """

    runs: tuple[Path, ...]
    tables: tuple[Path, ...]
    numbers: tuple[Path, ...]
    samples: tuple[Path, ...]

    def __bool__(self) -> bool:
        """True if there is anything."""
        return bool(self.runs or self.tables or self.numbers or self.samples)


def find(folder: Path) -> Found:
    """Look through a folder and all below it, but for hidden ones.

    The trainings of an ablation are left out: its table says what came of them.

    Raises:
        OSError: the folder is not there, or cannot be read.
    """
    runs, tables, numbers, samples = [], [], [], []
    os.scandir(folder).close()  # os.walk is silent about a folder that is not there
    for here, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        place = Path(here)
        if METRICS in files and CONFIG in files:
            runs.append(place)
        if CSV in files:
            tables.append(place)
        if RECORD in files:
            samples.append(place)
        numbers += [place / name for name in sorted(files) if name.endswith(".npz") and _of_a_figure(place / name)]
    alone = [run for run in runs if not any(table != run and table in run.parents for table in tables)]
    return Found(tuple(alone), tuple(tables), tuple(numbers), tuple(samples))


def _of_a_figure(path: Path) -> bool:
    """True if a file says that it has the numbers of a figure; data sets and statistics are such files, too."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "about.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


__all__ = ["write_report"]


def write_report(
    folder: Path, out: Path, *, title: str = "", lead: str = "", first: Sequence[Section] = ()
) -> tuple[Path, list[str]]:
    """Show all that a folder holds: trainings, samples, tables of results and the numbers of figures.

    Args:
        folder: looked through with all below it; see :func:`.find`.
        out: the page to write.
        title: of the page; the folder's name by default.
        lead: what the page begins with; what was found by default.
        first: sections to begin with.

    Returns:
        the page, and a line for each thing that could not be shown, with the reason.

    Raises:
        ValueError: there is nothing to show.
        OSError: a file cannot be read, or the page not be written.
    """
    found = find(folder)
    if not found and not first:
        raise ValueError(
            f"{folder} holds nothing to report on: name a folder with a training run, with tables that `elucidiff "
            "curve`, `ablate` or `search` wrote, or with numbers that `elucidiff figure` left"
        )
    sections, problems = list(first), []
    makers = (
        (of_run, found.runs),
        (of_samples, found.samples),
        (of_numbers, found.numbers),
        (of_results, found.tables),
    )
    for make, places in makers:
        for place in places:
            try:
                sections += make(folder, place)
            except ValueError as error:
                problems.append(f"{place} is left out: {' '.join(str(error).split())}")
    if not sections:
        raise ValueError(problems[0])
    page = write_page(out, title or folder.resolve().name, lead or _lead(found), sections)
    return page, problems


def _lead(found: Found) -> str:
    """The contents of the folder, in a sentence."""
    counts = {
        "training run": len(found.runs),
        "folder of samples": len(found.samples),
        "measured figure": len(found.numbers),
        "table of results": len(found.tables),
    }
    said = [f"{count} {_plural(noun) if count > 1 else noun}" for noun, count in counts.items() if count]
    listed = " and ".join([*([", ".join(said[:-1])] if said[:-1] else []), said[-1]])
    return f"{listed}. Each figure stands with the command that makes it; everything is in this one file."


def _plural(noun: str) -> str:
    head, *rest = noun.split(" of ")
    return " of ".join([f"{head}s", *rest])
