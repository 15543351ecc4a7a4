"""The guide to ablations does what it says: its commands are planned, its code is run, on a tiny digits model."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from elucidiff.cli.ablate import ACTIONS
from elucidiff.evaluation.ablation import TRAINING_CONFIGURATIONS
from tests.e2e.conftest import Run

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "ablations.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_commands_and_code(elucidiff: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELUCIDIFF_DATA", str(tmp_path / "cache"))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").symlink_to(trained)
    commands = "".join(re.findall(r"<!-- commands -->\n```bash\n(.*?)```", GUIDE, re.DOTALL)).splitlines()
    assert len(commands) == len(ACTIONS)
    for line in commands:
        program, *words = shlex.split(line)
        done = elucidiff(*words, "--device=cpu", "--plan")
        assert (program, done.returncode) == ("elucidiff", 0), (line, done.stderr)
        assert f"ablations/{words[1]}-" in done.stderr

    (code,) = re.findall(r"<!-- code -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    values = names["ledger"].values("alpha-1", 35, "truncation_error")
    assert set(values) == {0, 1}
    assert 0 < max(values.values()) < min(names["ledger"].values("alpha-1", 11, "truncation_error").values())


def test_rows_are_those_of_the_guide() -> None:
    assert re.findall(r"^\| `(\w+)` \| (?:Table|App)", GUIDE, re.MULTILINE) == list(ACTIONS)
    assert re.findall(r"^\| (\w) \| ", GUIDE, re.MULTILINE) == [each.name for each in TRAINING_CONFIGURATIONS]
