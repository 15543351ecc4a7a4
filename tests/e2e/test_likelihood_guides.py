"""The guides to likelihoods and to inverse problems do what they say: their commands and code are run in order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.conftest import Run

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
STEP = re.compile(r"^```python\n(?P<code>.*?)^```|^    elucidiff (?P<command>.*?)$", re.DOTALL | re.MULTILINE)
# What takes long in the guide, done in a shorter way.
SHORTER = {"likelihood": ("--solver", "rk45:rtol=1e-2,atol=1e-2"), "interpolate": (), "restore": ("--n", "6")}
SHORT = {
    "--images 20": "--images 2",
    "--frames 7": "--frames 3",
    "--out between": "--out between --solver rk45:rtol=1e-3,atol=1e-3",
}


def follow(guide: str, run: Run, model: Path, folder: Path) -> dict[str, Any]:
    """Do everything in a guide; the names that its code defined, and what its commands said."""
    names: dict[str, Any] = {"said": []}
    (folder / "runs" / "digits").mkdir(parents=True)
    (folder / "runs" / "digits" / "model").symlink_to(model)
    for step in STEP.finditer((GUIDES / guide).read_text(encoding="utf-8")):
        if step["code"]:
            exec(step["code"], names)
            continue
        command = step["command"]
        for long, short in SHORT.items():
            command = command.replace(long, short)
        words = shlex.split(command)
        done = run(*words, *SHORTER[words[0]])
        assert done.returncode == 0, done.stderr
        names["said"].append(done.stdout)
    return names


@pytest.mark.slow
def test_likelihood(elucidiff: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = follow("likelihood.md", elucidiff, trained / "model", tmp_path)
    assert "bits/dim over 2 held-out images of digits" in names["said"][0]
    assert Path("likelihood.json").is_file()
    # Of images and of noise alike: the model has hardly been trained, but the density is a density.
    assert bool((names["found"].log_prob.isfinite()).all())
    assert float((names["again"] - names["x"]).square().mean().sqrt()) < 1e-3
    assert "labels are mixed" in names["said"][1]
    assert "root mean square error of at most" in names["said"][2]
    assert len(list(Path("between").glob("0*.png"))) == 9


@pytest.mark.slow
def test_inverse_problems(elucidiff: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = follow("inverse-problems.md", elucidiff, trained / "model", tmp_path)
    assert all("8 samples in" in told for told in names["said"])
    for folder in ("painted", "enlarged"):
        with Image.open(Path(folder) / "sheet.png") as sheet:
            assert sheet.size == (9 * 72 - 8, 64)
    misfit = names["row_means"](names["result"].x) - names["row_means"](names["x"])
    assert float(misfit.square().mean().sqrt()) < 3 * 0.02
