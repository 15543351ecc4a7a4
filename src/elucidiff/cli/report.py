"""``elucidiff report RUN``: all that a folder holds about a run, as one page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from elucidiff.cli.common.arguments import parse
from elucidiff.demo import report as demo
from elucidiff.figures.report import write_report


@dataclass(frozen=True)
class Options:
    """Bind the figures and tables of a run into one HTML page that needs no other file and no network, and explain
    each of them.

    Examples::

        elucidiff report runs/photos
    """

    run: tyro.conf.Positional[Path]
    """A training run, or any folder with runs, samples, tables of results, or numbers that `elucidiff figure` left
    (.npz), however deep."""
    out: Path | None = None
    """The page to write (RUN/report.html)."""


def run(arguments: Sequence[str]) -> int:
    """Write the page, and say what could not be shown; see ``Options``."""
    options = parse(Options, arguments, prog="elucidiff report")
    out = options.out or options.run / "report.html"
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--out {out} is no name of a page: let it end with .html")
    if demo.is_demo(options.run):
        lead, sections = demo.read_sections(options.run)
        page, problems = write_report(options.run, out, title=demo.TITLE, lead=lead, first=sections)
    else:
        page, problems = write_report(options.run, out)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(page)
    return 0
