"""No page has code or commands that nobody runs: a test names the page, or it is told here why none does."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"^```(?:python|bash)|^ {4}(?:elucidiff|python|make|torchrun|pip) ", re.MULTILINE)

# Pages under docs/results show what a measurement of minutes to hours was made by; `tests/test_benchmarks.py` imports
# every benchmark. These are the others.
NOT_RUN = {
    "guides/classes.md": "not run yet: its commands are on a model of named pets, which no test trains",
    "guides/explorer.md": "commands that open a page and go on until Ctrl-C; tests/web opens the same page",
    "guides/installing.md": "commands that install gigabytes; tests/release installs a wheel",
    "guides/own-pictures.md": "trainings of minutes; tests/cli/test_train_planned.py trains so on small pictures",
    "index.md": "the demo (tests/demo); `sample` and `explore` run on other models in tests/e2e and tests/web",
}


def test_a_test_names_every_page_with_code() -> None:
    sources = [path for path in (ROOT / "tests").rglob("test_*.py") if path.parent != Path(__file__).parent]
    tests = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    without = set()
    for path in (ROOT / "docs").rglob("*.md"):
        page = path.relative_to(ROOT / "docs").as_posix()
        if page.startswith(("results/", "design-space/")):  # all chapters: tests/docs/test_design_space.py
            continue
        if CODE.search(path.read_text(encoding="utf-8")) and path.name not in tests:
            without.add(page)
    assert without == set(NOT_RUN)


def test_every_chapter_with_code_is_run() -> None:
    chapters = (ROOT / "tests" / "docs" / "test_design_space.py").read_text(encoding="utf-8")
    for path in (ROOT / "docs" / "design-space").glob("*.md"):
        if "```python" in path.read_text(encoding="utf-8"):
            assert f'"{path.stem}"' in chapters, path.name
