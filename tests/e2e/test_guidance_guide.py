"""The guide to guidance does what it says: its commands and code are run in order, and its figures come out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import elucidiff as ed
from tests.e2e.conftest import Run

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "guidance.md").read_text(encoding="utf-8")
STEP = re.compile(r"^```python\n(?P<code>.*?)^```|^    elucidiff (?P<command>.*?)$", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\| (\w+) \| (0\.\d+) \| (0\.\d+) \| (\d+) \|$", re.MULTILINE)
# One checkpoint is enough, and the preview at each takes longer than the training.
SHORT = {
    "train": ("--checkpoint-images=1000000", "--memorisation-samples=0", "--device=cpu"),
    "sample": ("--processes=1", "--device=cpu"),
}


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two and a half minutes on a core of its own
def test_the_figures_come_out(elucidiff: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for step in STEP.finditer(GUIDE):
        if step["code"]:
            exec(step["code"], names)
            continue
        words = shlex.split(step["command"])
        done = elucidiff(*words, *SHORT[words[0]])
        assert done.returncode == 0, done.stderr

    stated = {name: tuple(map(float, numbers)) for name, *numbers in ROW.findall(GUIDE)}
    assert stated.keys() == names["measured"].keys()
    for name, (right, scatter, evaluations) in names["measured"].items():
        assert right == pytest.approx(stated[name][0], abs=0.05)
        assert scatter == pytest.approx(stated[name][1], abs=0.03)
        assert evaluations == stated[name][2]
    right = {name: measured[0] for name, measured in names["measured"].items()}
    assert min(right["guided"], right["limited"]) > right["plain"] + 0.03
    assert right["autoguided"] > right["plain"]
    scatter = {name: measured[1] for name, measured in names["measured"].items()}
    assert scatter["guided"] < scatter["limited"] < scatter["plain"] - 0.03
    assert scatter["autoguided"] > scatter["plain"] - 0.03

    plain = ed.Sampler(steps="karras:n=12").run(names["free"], range(10), range(10))
    assert torch.equal(names["again"].x, plain.x)
    assert names["samples"].nfe > plain.nfe == 29
