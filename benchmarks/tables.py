"""Results as files: a Markdown page and a CSV sheet."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from elucidiff.files import write_whole

RESULTS = Path("docs/results")


def write_table(name: str, notes: str, rows: list[dict[str, str]]) -> str:
    """Write ``rows`` as docs/results/NAME.md, below ``notes``, and as docs/results/NAME.csv; the Markdown."""
    text = notes + markdown(rows)
    write_results(name, text, rows)
    return text


def write_results(name: str, text: str, rows: list[dict[str, str]]) -> None:
    """Write ``text`` as docs/results/NAME.md and ``rows`` as docs/results/NAME.csv."""
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(RESULTS / f"{name}.md", text)
    write_whole(RESULTS / f"{name}.csv", sheet.getvalue())


def markdown(rows: list[dict[str, str]]) -> str:
    """``rows`` as a Markdown table; the keys of the first are the heads."""
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0]), *(" | ".join(row.values()) for row in rows)]
    return "".join(f"| {line} |\n" for line in lines)
