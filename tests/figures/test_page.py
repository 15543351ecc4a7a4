"""The page holds everything itself, and shows text as text."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from elucidiff.figures.page import Section, Table, write_page


def test_figures_are_embedded_and_nothing_is_fetched(tmp_path: Path) -> None:
    png = tmp_path / "figure.png"
    png.write_bytes(b"\x89PNG not really")
    page = write_page(tmp_path / "page.html", "Title", "Lead", [Section("S", "text", png, "what it shows")])
    text = page.read_text(encoding="utf-8")
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert [base64.b64decode(data) for data in embedded] == [png.read_bytes()]
    assert "http" not in text
    assert 'alt="what it shows"' in text


def test_text_is_escaped_and_split_into_paragraphs(tmp_path: Path) -> None:
    table = Table(["<a>", "b"], [["1 & 2", "<script>"]])
    section = Section("<h>", "one\n  line\n\ntwo < three", table=table)
    text = write_page(tmp_path / "p.html", "A & B", "x > y", [section]).read_text(encoding="utf-8")
    assert "<p>one line</p>\n<p>two &lt; three</p>" in text
    assert "<td>1 &amp; 2</td><td>&lt;script&gt;</td>" in text
    assert "<title>A &amp; B</title>" in text
    assert "<script>" not in text


def test_uneven_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 cells under a header of 2"):
        write_page(tmp_path / "p.html", "t", "l", [Section("s", "x", table=Table(["a", "b"], [["c"]]))])
    assert not (tmp_path / "p.html").exists()
