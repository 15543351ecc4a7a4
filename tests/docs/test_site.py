"""The site builds without a warning, asks nobody else for anything, and leads nowhere that is not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import elucidiff as ed

ROOT = Path(__file__).parents[2]
# Attributes that a browser follows by itself; a link (`a href`) is followed by the reader only.
FETCHED = {"src", "srcset", "data", "poster", "action", "background"}
FETCHING_LINKS = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
    "manifest",
}


@dataclass
class Built(HTMLParser):
    """What a built page fetches, where it links to, and its anchors."""

    fetched: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    formulas: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.fetched += [value for name, value in given.items() if name in FETCHED]
        self.fetched += re.findall(r"url\(([^)]*)\)", given.get("style", ""))
        self.formulas += tag == "math"
        if tag == "link" and set(given.get("rel", "").split()) & FETCHING_LINKS:
            self.fetched.append(given["href"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = (sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder))
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Built]:
    found = {}
    for path in site.rglob("*.html"):
        found[path] = Built()
        found[path].feed(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Built]) -> None:
    fetched = {address for page in pages.values() for address in page.fetched}
    for sheet in site.rglob("*.css"):
        fetched |= set(re.findall(r"(?:url\(|@import\s+)[\"']?([^\"')]+)", sheet.read_text(encoding="utf-8")))
    assert len(fetched) > 20
    assert [each for each in fetched if each.startswith(("http:", "https:", "//"))] == []


@pytest.mark.slow
def test_every_link_and_anchor_is_there(site: Path, pages: dict[Path, Built]) -> None:
    followed = 0
    for path, page in pages.items():
        if path.name == "404.html":  # its links are absolute, as it is shown for any address
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), (path.relative_to(site), link)
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors | {"__top"}, (path.relative_to(site), link)
            followed += 1
    assert followed > 1000


@pytest.mark.slow
def test_the_reference_has_the_public_names(site: Path, pages: dict[Path, Built]) -> None:
    described = {anchor for path, page in pages.items() if path.parent.name == "reference" for anchor in page.anchors}
    objects = [getattr(ed, name) for name in ed.__all__]
    objects += [getattr(ed.solvers, name) for name in ed.solvers.__all__]
    wanted = {f"{each.__module__}.{each.__qualname__}" for each in objects if hasattr(each, "__qualname__")}
    assert len(wanted) > 25
    assert wanted - described == set()


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    docs = ROOT / "docs"
    present = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md") if path.parent.name != "orderings"}
    assert present - listed == set()
    assert {name for name in listed - present if not name.startswith("reference/")} == set()
