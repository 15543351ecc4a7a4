"""The page holds everything itself, and shows text as text."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from elucidiff.figures.page import Picture, Section, Table, write_page
from elucidiff.figures.style import new_figure


def test_figures_are_embedded_and_nothing_is_fetched(tmp_path: Path) -> None:
    png = tmp_path / "figure.png"
    png.write_bytes(b"\x89PNG not really")
    sections = [Section("S", "text", Picture.read(png, "what it shows"))]
    page = write_page(tmp_path / "page.html", "Title", "Lead", sections)
    text = page.read_text(encoding="utf-8")
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert [base64.b64decode(data) for data in embedded] == [png.read_bytes()]
    assert "http" not in text
    assert 'alt="what it shows"' in text


def test_lines_stay_lines_and_pictures_pictures(tmp_path: Path) -> None:
    lines, pictures, density = new_figure(2, 2), new_figure(2, 2), new_figure(2, 2)
    lines.subplots().plot([1, 2], [3, 4])
    pictures.subplots().imshow(np.eye(3))
    density.subplots().pcolormesh(np.eye(3))
    assert [Picture.of(figure, "").kind for figure in (lines, pictures, density)] == ["svg", "png", "png"]
    picture = Picture.of(lines, "x")
    page = write_page(tmp_path / "p.html", "t", "l", [Section("S", "text", picture)])
    (data,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page.read_text(encoding="utf-8"))
    assert base64.b64decode(data) == picture.data
    assert picture.data.startswith(b"<?xml")


def test_text_is_escaped_and_split_into_paragraphs(tmp_path: Path) -> None:
    table = Table(["<a>", "b"], [["1 & 2", "<script>"], ["**0.1 <**", "a ** b"]])
    section = Section("<h>", "one\n  line\n\ntwo < three, `a < b`", table=table, command="elucidiff 'a b' <c>")
    text = write_page(tmp_path / "p.html", "A & B", "x > y", [section]).read_text(encoding="utf-8")
    assert "<p>one line</p>\n<p>two &lt; three, <code>a &lt; b</code></p>" in text
    assert "<td>1 &amp; 2</td><td>&lt;script&gt;</td>" in text
    assert "<td><strong>0.1 &lt;</strong></td><td>a ** b</td>" in text
    assert "<title>A &amp; B</title>" in text
    assert '<pre class="command"><code>elucidiff &#39;a b&#39; &lt;c&gt;</code></pre>' in text
    assert "<script>" not in text


def test_contents_lead_to_each_section(tmp_path: Path) -> None:
    sections = [Section("Loss & co.", "x"), Section("Loss, co", "y"), Section("σ", "z")]
    text = write_page(tmp_path / "p.html", "t", "l", sections).read_text(encoding="utf-8")
    links = re.findall(r'<a href="#([^"]+)">', text)
    assert links == re.findall(r'<section id="([^"]+)">', text) == ["loss-co", "loss-co-2", "section"]


def test_uneven_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 cells under a header of 2"):
        write_page(tmp_path / "p.html", "t", "l", [Section("s", "x", table=Table(["a", "b"], [["c"]]))])
    assert not (tmp_path / "p.html").exists()
