"""The guide to latents does what it says: its commands and its code are run in order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from elucidiff.cli.main import main
from tests.e2e.test_latents import SHORT
from tests.interop.autoencoders.made import write_pair

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "latents.md").read_text(encoding="utf-8")
QUICK = {"train": SHORT, "sample": ["--device=cpu"], "evaluate": ["--device=cpu", "--cache=cache"], "data": []}


def test_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    Path("photos").mkdir()
    for number in range(48):
        picture = Image.fromarray(random.integers(0, 256, (70, 80, 3), np.uint8))
        picture.save(f"photos/{number:02d}.png")
    Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save("photo.png")
    write_pair(Path("taef2"))
    commands = re.findall(r"^    elucidiff (.*)$", GUIDE, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        words = shlex.split(command)
        assert main([*words, *QUICK[words[0]]]) == 0, command
    with Image.open("samples/00000003.png") as image:
        assert image.size == (64, 64)
    assert np.load("latents/00000003.npy").shape == (4, 16, 16)
    assert len(list(Path("variations").glob("0*.png"))) == 4
    names: dict[str, Any] = {}
    [code] = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    exec(code, names)
    assert names["drawn"].shape == (4, 3, 64, 64)
    assert names["decoded"].shape == names["pictures"].shape == (2, 3, 64, 64)
    torch.testing.assert_close(names["encoded"], names["latents"], atol=1e-5, rtol=0)
    assert names["made"].count == 48
