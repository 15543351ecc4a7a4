"""One self-contained HTML page: text, tables and figures, with nothing fetched from anywhere."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from elucidiff.figures.style import encoded
from elucidiff.files import write_whole

_TYPES = {"png": "image/png", "svg": "image/svg+xml"}


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; every row has as many cells as the header.

    Cells written between two asterisks, ``**0.12**``, are bold.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A figure as the page has it inside itself.

    Attributes:
        kind: png or svg.
        data: the content of such a file.
        alternative: what it shows, for those who cannot see it.
    """

    kind: str
    data: bytes
    alternative: str

    @classmethod
    def of(cls, figure: Figure, alternative: str) -> Picture:
        """Lines and letters stay sharp at any size; figures that are made of pictures are pictures."""
        kind = "png" if any(axes.images or _has_mesh(axes) for axes in figure.axes) else "svg"
        return cls(kind, encoded(figure, kind), alternative)

    @classmethod
    def read(cls, path: Path, alternative: str) -> Picture:
        """From a ``.png`` or ``.svg`` file.

        Raises:
            OSError: it cannot be read.
        """
        return cls(path.suffix.removeprefix("."), path.read_bytes(), alternative)


@dataclass(frozen=True)
class Section:
    """A heading and text, and optionally a figure, a table below it, and the command that made them.

    The text is plain but for `code` between backticks; empty lines separate paragraphs, and other line breaks count
    as spaces.
    """

    title: str
    text: str
    picture: Picture | None = None
    table: Table | None = None
    command: str = ""


def write_page(path: str | os.PathLike[str], title: str, lead: str, sections: Sequence[Section]) -> Path:
    """Write the page to ``path``, figures embedded. All text is escaped: pass plain text, not HTML.

    It is light or dark as the reader's system is, fits a phone, and prints without cutting a figure in two.

    Raises:
        OSError: the page cannot be written.
        ValueError: a table row of another length than its header.
    """
    return write_whole(path, _PAGE.render(title=title, lead=lead, style=_STYLE, sections=_named(sections)))


def _has_mesh(axes: Axes) -> bool:
    """True if a density is drawn, which would be a picture within an SVG."""
    return any(isinstance(each, QuadMesh) for each in axes.collections)


def _anchors(titles: Sequence[str]) -> list[str]:
    """A name for each section, for links to it; no two alike."""
    taken: dict[str, int] = {}
    names = []
    for title in titles:
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        taken[name] = taken.get(name, 0) + 1
        names.append(name if taken[name] == 1 else f"{name}-{taken[name]}")
    return names


def _named(sections: Sequence[Section]) -> list[tuple[str, Section]]:
    """Each section with its name.

    Raises:
        ValueError: a table row of another length than its header.
    """
    for table in (section.table for section in sections if section.table is not None):
        if wrong := [row for row in table.rows if len(row) != len(table.header)]:
            raise ValueError(f"a table row has {len(wrong[0])} cells under a header of {len(table.header)}")
    return list(zip(_anchors([section.title for section in sections]), sections, strict=True))


def _prose(text: str) -> Markup:
    """A paragraph; what stands between backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(" ".join(text.split())))))


def _cell(text: str) -> Markup:
    """A cell; what stands between two asterisks is bold."""
    bold = re.fullmatch(r"\*\*(.+)\*\*", text)
    return Markup("<strong>{}</strong>").format(bold[1]) if bold else escape(text)


def _embedded(picture: Picture) -> str:
    """The address of a picture that is within the page."""
    return f"data:{_TYPES[picture.kind]};base64,{base64.b64encode(picture.data).decode()}"


# What is put in is escaped by the template.
_ENVIRONMENT = Environment(
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)
_ENVIRONMENT.filters.update(prose=_prose, cell=_cell, embedded=_embedded)
_PAGE = _ENVIRONMENT.from_string("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
{% if sections | length > 1 %}
<nav aria-label="Contents"><ol>
{%- for name, section in sections %}<li><a href="#{{ name }}">{{ section.title }}</a></li>{% endfor -%}
</ol></nav>
{% endif %}
{% for name, section in sections %}
<section id="{{ name }}">
<h2>{{ section.title }}</h2>
{% for paragraph in section.text.split("\n\n") %}
<p>{{ paragraph | prose }}</p>
{% endfor %}
{% if section.picture is not none %}
<figure><img alt="{{ section.picture.alternative }}" src="{{ section.picture | embedded }}"></figure>
{% endif %}
{% if section.table is not none %}
<div class='wide'><table>
<thead><tr>{% for cell in section.table.header %}<th>{{ cell | cell }}</th>{% endfor %}</tr></thead>
<tbody>
{%- for row in section.table.rows %}<tr>{% for cell in row %}<td>{{ cell | cell }}</td>{% endfor %}</tr>
{% endfor -%}
</tbody>
</table></div>
{% endif %}
{% if section.command %}
<pre class="command"><code>{{ section.command }}</code></pre>
{% endif %}
</section>
{% endfor %}
</main>
</body>
</html>
""")


# Figures keep their white paper in the dark, where their colours were chosen for it.
_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --quiet: #5f5f5f; --line: #e2e2e2; --accent: #0062a0;
  --page: #fafafa; --card: #fff; --code: #f3f4f6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --quiet: #a6a6a6; --line: #3a3d42; --accent: #6cb8f0; --page: #15171a; --card: #1e2125;
    --code: #15171a; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.6 system-ui, "Segoe UI", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.lead { font-size: 1.1rem; color: var(--quiet); margin: 0 0 1.5rem; max-width: 46rem; overflow-wrap: anywhere; }
nav ol { columns: 20rem; column-gap: 2rem; margin: 0 0 2rem; padding-left: 1.9rem; color: var(--quiet); }
nav li { break-inside: avoid; }
a { color: var(--accent); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
section { padding: 1.4rem 1.5rem; margin: 0 0 1.25rem; }
section p { max-width: 46rem; margin: 0 0 .7rem; }
figure { margin: 1rem 0 0; padding: .4rem; overflow-x: auto; background: #fff; border-radius: 6px; }
img { max-width: 100%; height: auto; display: block; margin: 0 auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin-top: .6rem; font-size: .95rem; }
th, td { text-align: left; padding: .38rem 1.3rem .38rem 0; border-bottom: 1px solid var(--line); }
th, td { vertical-align: top; }
th { color: var(--quiet); font-weight: 600; }
td:not(:first-child) { font-variant-numeric: tabular-nums; white-space: nowrap; }
.command { margin: 1rem 0 0; padding: .55rem .8rem; background: var(--code); border-radius: 6px; overflow-x: auto; }
.command { font-size: .85rem; color: var(--quiet); }
.command code { white-space: pre-wrap; overflow-wrap: anywhere; }
.command code::before { content: "$ "; }
@media (max-width: 40rem) {
  main { padding: 1.25rem .6rem 2rem; }
  section { padding: 1rem .8rem; }
  img { max-width: none; width: 100%; min-width: 34rem; }
}
@media print {
  :root { color-scheme: light; --ink: #000; --quiet: #444; --line: #ccc; --accent: #000; --page: #fff; --card: #fff;
    --code: #fff; }
  body { font-size: 11pt; }
  main { max-width: none; padding: 0; }
  section { border: 0; padding: 0; margin: 0 0 1.5rem; }
  section, figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  nav { display: none; }
}
"""
