"""The guide to fewer evaluations does what it says: its commands and its code are run, on a tiny model."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from elucidiff import parts
from elucidiff.cli.steps import Optimise
from elucidiff.sampling.optimise.candidate import CANDIDATES
from elucidiff.sampling.own_samplers import STANDARD
from tests.e2e.conftest import Run
from tests.sampling.tiny_model import save_tiny_model

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "fewer-evaluations.md").read_text(encoding="utf-8")
QUICK = {
    "optimise": ("--seeds=1000-1001", "--fresh-seeds=2000-2001", "--batch-size=2", "--solver=dpmpp_2m"),
    "measure": ("--samplers=nfe-8", "--seeds=3000-3001", "--batch-size=2"),
}


@pytest.mark.slow
def test_commands_and_code(elucidiff: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_model(Path("runs/digits/model"))
    commands = "".join(re.findall(r"<!-- commands -->\n```bash\n(.*?)```", GUIDE, re.DOTALL)).splitlines()
    for number, line in enumerate(commands):
        program, *words = shlex.split(line)
        assert program == "elucidiff"
        more = QUICK[words[1]] if words[0] == "steps" else ("--seeds=0-1", "--processes=1", f"--out=out-{number}")
        done = elucidiff(*words, *more, "--device=cpu")
        assert done.returncode == 0, (line, done.stderr)
    folder = Path("runs/digits/model/samplers")
    kept = {path.stem: json.loads(path.read_text()) for path in folder.iterdir()}
    rows = re.findall(r"^\| `(\w+)` \| (?:at most )?(\d+) \|", GUIDE, re.MULTILINE)
    assert [name for name, _ in rows] == list(STANDARD)
    for name, evaluations in rows:
        assert kept[name]["nfe"] == int(evaluations)
    for candidate in CANDIDATES:
        assert f"`{parts.name_of(candidate.solver)}`" in GUIDE

    (code,) = re.findall(r"<!-- code -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["found"].measured.error < names["found"].measured.baseline_error
    assert names["samples"].shape == (16, 1, 4, 4)


def test_defaults_are_those_of_the_guide() -> None:
    defaults = Optimise(Path("model"))
    assert f"| `--seeds` | {defaults.seeds} |" in GUIDE
    assert f"| `--fresh-seeds` | {defaults.fresh_seeds} |" in GUIDE
