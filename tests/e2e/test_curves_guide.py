"""The guide to curves does what it says: its commands are run, in short, on a tiny digits model, and its code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from elucidiff.evaluation.results import COLUMNS
from tests.e2e.conftest import Run

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "curves.md").read_text(encoding="utf-8")
# Later values of a flag count.
SHORT = ("--images=20", "--exact-images=2", "--blocks=2", "--nfe=5,9", "--extractor=pca-5", "--device=cpu")


@pytest.mark.slow
def test_commands_and_code(elucidiff: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELUCIDIFF_DATA", str(tmp_path / "cache"))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").symlink_to(trained)
    commands = "".join(re.findall(r"<!-- commands -->\n```bash\n(.*?)```", GUIDE, re.DOTALL)).splitlines()
    assert len(commands) == 4
    for line in commands:
        program, *words = shlex.split(line)
        planned = elucidiff(*words, "--device=cpu", "--plan")
        assert (program, planned.returncode) == ("elucidiff", 0), (line, planned.stderr)
        done = elucidiff(*words, *SHORT)
        assert done.returncode == 0, (line, done.stderr)
        assert "| 5 evaluations | 9 evaluations |" in done.stdout
    names: dict[str, Any] = {}
    (code,) = re.findall(r"<!-- code -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(code, names)
    assert sorted(names["rows"], key=str) == sorted(names["table"].rows, key=str)
    # Two solvers and two rho, two budgets, two blocks, two figures.
    assert len(names["rows"]) == 2**5
    (folder,) = {path.name for path in (tmp_path / "curves").iterdir()} - {"solvers", "churn", "ideal-digits"}
    listed = re.findall(r"`([\w.]+)`", GUIDE[GUIDE.index("| file in `curves") : GUIDE.index("## The table")])
    assert sorted(listed) == sorted(path.name for path in (tmp_path / "curves" / folder).iterdir())


def test_columns_are_those_of_the_guide() -> None:
    lines = GUIDE[GUIDE.index("| columns | what |") :].split("\n\n")[0].splitlines()[2:]
    named = [name for line in lines for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(named) == sorted(COLUMNS)
