"""The guide to conditions does what it says: its commands and its code are run in order."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from elucidiff.cli.main import main
from tests.e2e.test_latents import SHORT

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "conditions.md").read_text(encoding="utf-8")
QUICK = {
    "train": [*SHORT, "--preview-images=64"],
    "sample": ["--n=2", "--device=cpu", "--processes=1"],
    "evaluate": ["--n=2", "--device=cpu", "--images=4", "--per-condition=2", "--out=evaluation"],
    "data": [],
}


@pytest.mark.slow
def test_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for folder, count, side, suffix in (
        ("pictures", 24, 16, "png"),
        ("small", 3, 4, "png"),
        ("day", 24, 32, "png"),
        ("night", 24, 16, "bmp"),
    ):
        Path(folder).mkdir()
        for number in range(count):
            picture = Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8))
            picture.save(f"{folder}/{number:02d}.{suffix}")
    commands = re.findall(r"^    elucidiff (.*)$", GUIDE, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        words = [word for word in shlex.split(command) if word not in ("--images", "100")]
        assert main([*words, *QUICK[words[0]]]) == 0, command
    entries = json.loads(Path("enlarged/samples.json").read_text())["samples"]
    assert [entry["condition"] for entry in entries] == ["00.png", "01.png", "02.png"] * 4
    with Image.open("enlarged/00000000.png") as image:
        assert image.size == (16, 16)
    with Image.open(sorted(Path("runs/day/samples").glob("*.png"))[-1]) as sheet:
        assert sheet.width / sheet.height == pytest.approx(6 / 2, rel=0.1)  # condition, four samples, truth; of two
    scores = json.loads(Path("evaluation/pairs.json").read_text())["scores"]
    assert set(scores) == {"rmse", "rmse_single", "crps", "spread_skill"}
    names: dict[str, Any] = {}
    [code] = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    exec(code, names)
    assert names["pictures"].shape == (2, 3, 32, 32)
    assert (names["found"].conditions, names["found"].members) == (6, 4)
