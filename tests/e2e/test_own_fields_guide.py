"""The guide to fields in physical units does what it says: its code and its commands are run in order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.data import Gaps, Log
from elucidiff.training import TrainingConfig

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "own-fields.md").read_text(encoding="utf-8")
STEP = re.compile(r"^```python\n(?P<code>.*?)^```|^    elucidiff (?P<command>[^\n]*)$", re.DOTALL | re.MULTILINE)
QUICK = {
    "train": ["--duration-images=512", "--checkpoint-images=512", "--memorisation-samples=4", "--device=cpu"],
    "sample": ["--n=6", "--device=cpu", "--overwrite"],
    "evaluate": ["--seeds=0-39", "--n=6", "--device=cpu"],
    "data": [],
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*lacks", "ignore:sigma goes")
def test_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    said = {}
    for step in STEP.finditer(GUIDE):
        if step["code"]:
            exec(step["code"], names)
            continue
        words = shlex.split(step["command"])
        assert main([*words, *QUICK[words[0]]]) == 0, step["command"]
        said[words[0]] = capsys.readouterr().out
    assert sorted(said) == ["data", "evaluate", "sample", "train"]

    config = TrainingConfig.load("runs/sea/config.yaml")
    assert config.normalise == Log(channels=(1,))
    assert config.augment.off
    assert config.network.padding == ("zeros", "periodic")  # type: ignore[attr-defined]
    scaling = names["scaling"]
    assert isinstance(scaling, Gaps)
    assert isinstance(scaling.scaling, Log)
    fields = np.load("sea.npy").astype(float)
    assert scaling.scaling.means[0] == pytest.approx(np.nanmean(fields[:, 0]))
    assert scaling.scaling.stds[0] == pytest.approx(np.nanstd(fields[:, 0]))

    land = np.zeros((2, 8, 16), bool)
    land[0, :, :3] = True
    np.testing.assert_array_equal(names["land"], np.broadcast_to(land, (32, 2, 8, 16)))
    samples = names["samples"]
    assert samples.dtype == np.float32
    # In kelvin and in units of rain, within a few standard deviations although hardly trained.
    assert np.nanmean(samples[:, 0]) == pytest.approx(288, abs=6)
    assert 3 < np.nanstd(samples[:, 0]) < 15
    assert samples[:, 1].min() >= 0
    assert "lacks" in said["data"]
    assert "pca-20" in said["evaluate"]
    assert "NaN where the training data had none" in said["sample"]
    assert names["drawn"].shape == (2, 2, 8, 16)
    assert ed.load("runs/sea/model").sample_shape == (2, 8, 16)
