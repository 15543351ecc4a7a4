"""The guide to models that go out again does what it says: its code and its commands are run in order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import elucidiff as ed
from elucidiff.cli.main import main
from tests.denoisers.backends.made import denoiser as made_denoiser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::FutureWarning:diffusers"),
]

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "out-again.md").read_text(encoding="utf-8")


def test_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_denoiser("mp-unet", (1, 8, 8), 3, label_dropout=0.1).save("model")
    commands = re.findall(r"^    elucidiff (.*)$", GUIDE, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert main(shlex.split(command)) == 0
    names: dict[str, Any] = {}
    (tmp_path / "sampler.onnx").unlink()
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 8
    for code in blocks:
        exec(code, names)
    latents = torch.from_numpy(names["latents"])
    free = ed.load("model")
    rows = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    expected = ed.sample(free, latents, "karras:n=10", solver="ipndm:order=3", labels=rows)
    x, sigma = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([2.0, 0.5])
    labels = torch.tensor([1, 3])  # the last of which is none
    rows_there = torch.tensor([[0.0, 1, 0], [0, 0, 0]])
    with torch.no_grad():
        assert torch.equal(names["model"](x, sigma, class_cond=labels), free(x, sigma, rows_there))
        assert torch.equal(names["back"](x, sigma, torch.tensor([1, 2])), free(x, sigma, torch.tensor([1, 2])))
    found = torch.from_numpy(names["samples"])
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4
    guided = ed.guided.Guidance(1.5, sigma_max=5).guided(free)
    expected = ed.sample(guided, latents, "karras:n=4", labels=torch.tensor([0, 1, 2, 0]))
    assert float((names["guided"] - expected).abs().max() / expected.abs().max()) < 1e-4
    assert bool(names["drawn"].isfinite().all())
    assert names["ours"].sigma_max == pytest.approx(1000, rel=1e-3)  # of their schedule
    for other in ("again", "same"):
        for one, two in zip(names[other].parameters(), free.parameters(), strict=True):
            assert torch.equal(one, two)
    assert "| FID | 3.2 |" in Path("published/README.md").read_text()
