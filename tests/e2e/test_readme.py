"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from elucidiff.cli.main import VERBS
from tests.e2e.conftest import Run

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(trained: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, torch.Tensor] = {}
    exec(example.replace("runs/demo/model", str(trained / "model")), names)
    assert names["x"].shape == (16, 1, 8, 8)
    assert bool(names["x"].isfinite().all())


def test_every_command_is_one_that_exists(elucidiff: Run) -> None:
    commands = [
        shlex.split(line, comments=True) for line in re.findall(r"^    elucidiff (.*)$", README, re.MULTILINE)
    ]
    assert len(commands) >= 4
    for verb, *words in commands:
        assert verb in VERBS
        about = elucidiff(verb, *words[:1], "--help") if verb in ("train", "figure") else elucidiff(verb, "--help")
        for flag in (word for word in words if word.startswith("--")):
            assert flag in about.stdout, f"{verb} has no {flag}"


def test_pictures_and_pages_exist_and_nothing_is_left_to_fill_in() -> None:
    root = Path(__file__).parents[2]
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (root / target).exists(), target
    assert not re.findall(r"[A-Z]+_(?:TABLE|FIGURES)", README)


@pytest.mark.parametrize("words", [("sample", "MODEL", "--table", "vp", "--n", "6", "--solver", "heun")])
def test_the_table_and_single_flags_combine(elucidiff: Run, trained: Path, tmp_path: Path, words: list[str]) -> None:
    given = [str(trained / "model") if word == "MODEL" else word for word in words]
    done = elucidiff(*given, "--seeds", "0-1", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "11 evaluations each" in done.stdout
