"""One self-contained HTML page: text, tables and figures, with nothing fetched from anywhere."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elucidiff.files import write_whole


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; every row has as many cells as the header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A heading and text, and optionally a figure (a PNG file) and a table below it.

    The text is plain; empty lines separate paragraphs, and other line breaks count as spaces.
    """

    title: str
    text: str
    figure: Path | None = None
    alternative: str = ""
    table: Table | None = None


def write_page(path: str | os.PathLike[str], title: str, lead: str, sections: Sequence[Section]) -> Path:
    """Write the page to ``path``, figures embedded. All text is escaped: pass plain text, not HTML.

    Raises:
        OSError: a figure cannot be read or the page cannot be written.
        ValueError: a table row of another length than its header.
    """
    body = "\n".join(_section(section) for section in sections)
    return write_whole(
        path,
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{html.escape(title)}</h1>
<p class="lead">{html.escape(lead)}</p>
{body}
</main>
</body>
</html>
""",
    )


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(' '.join(paragraph.split()))}</p>" for paragraph in section.text.split("\n\n")]
    if section.figure is not None:
        data = base64.b64encode(section.figure.read_bytes()).decode()
        parts.append(
            f'<figure><img alt="{html.escape(section.alternative)}" src="data:image/png;base64,{data}"></figure>'
        )
    if section.table is not None:
        parts.append(_table(section.table))
    return "\n".join([*parts, "</section>"])


def _table(table: Table) -> str:
    if wrong := [row for row in table.rows if len(row) != len(table.header)]:
        raise ValueError(f"a table row has {len(wrong[0])} cells under a header of {len(table.header)}")

    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "\n".join(row(cells, "td") for cells in table.rows)
    return (
        f"<div class='wide'><table>\n<thead>{row(table.header, 'th')}</thead>\n<tbody>{rows}</tbody>\n</table></div>"
    )


_STYLE = """
:root { color-scheme: light; --ink: #1a1a1a; --quiet: #5f5f5f; --line: #e2e2e2; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #fafafa; color: var(--ink); font: 16px/1.6 system-ui, "Segoe UI", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem; }
h2 { font-size: 1.2rem; margin: 0 0 .5rem; }
.lead { font-size: 1.1rem; color: var(--quiet); margin: 0 0 2rem; max-width: 46rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; }
section { padding: 1.4rem 1.5rem; margin: 0 0 1.25rem; }
section p { max-width: 46rem; margin: 0 0 .7rem; }
figure { margin: 1rem 0 0; }
img { max-width: 100%; height: auto; display: block; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin-top: .6rem; font-size: .95rem; }
th, td { text-align: left; padding: .38rem 1.3rem .38rem 0; border-bottom: 1px solid var(--line); }
th, td { vertical-align: top; }
th { color: var(--quiet); font-weight: 600; }
td:not(:first-child) { font-variant-numeric: tabular-nums; }
"""
