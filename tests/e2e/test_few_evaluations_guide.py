"""The guide to few evaluations does what it says: its commands and its code are run, on a tiny model."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import elucidiff as ed
from elucidiff.denoisers.tuned import FEW
from elucidiff.networks import DDPMPPSettings
from elucidiff.training import preset, train
from tests.e2e.conftest import Run

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "few-evaluations.md").read_text(encoding="utf-8")
QUICK = {
    "tune": ("--duration-images=640", "--no-report", "--memorisation-samples=0", "--checkpoint-images=10000"),
    "sample": ("--seeds=0-1", "--processes=1"),
    "search": ("--trials=2", "--seeds=100-163", "--fresh-seeds=200-327"),
}


@pytest.mark.slow
def test_commands_and_code(elucidiff: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = DDPMPPSettings(base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=())
    train(replace(preset("digits"), network=network, duration_images=640, memorisation_samples=0), "runs/digits")
    commands = "".join(re.findall(r"<!-- commands -->\n```bash\n(.*?)```", GUIDE, re.DOTALL)).splitlines()
    assert [shlex.split(line)[:2] for line in commands] == [["elucidiff", verb] for verb in QUICK]
    for line in commands:
        _, verb, *words = shlex.split(line)
        done = elucidiff(verb, *words, *QUICK[verb], "--device=cpu")
        assert done.returncode == 0, (line, done.stderr)
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", GUIDE, re.MULTILINE)
    assert {name: int(evaluations) for name, evaluations in rows} == FEW

    (code,) = re.findall(r"<!-- code -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["samples"].shape == (16, 1, 8, 8)


def test_settings_are_those_of_the_guide() -> None:
    ect, scm = ed.objectives.Consistency(), ed.objectives.ContinuousConsistency()
    assert f"| {ect.p_mean:g}, {ect.p_std:g} | {scm.p_mean:g}, {scm.p_std:g} |" in GUIDE
    assert f"| {ect.stages}, {ect.base:g} | |" in GUIDE
    assert f"| {ect.huber:g} | |" in GUIDE
    assert f"| | {scm.warmup:g} |" in GUIDE
