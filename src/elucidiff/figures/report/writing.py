"""The page of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from elucidiff.figures.page import Section, write_page
from elucidiff.figures.report.finding import Found, find
from elucidiff.figures.report.of_results import of_numbers, of_results
from elucidiff.figures.report.of_runs import of_run, of_samples


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
