"""The guides do what they say: their code and commands are run in order, and the figures in them are checked."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import Run

pytestmark = pytest.mark.slow

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
STEP = re.compile(r"^```python\n(?P<code>.*?)^```|^    elucidiff (?P<command>.*?)$", re.DOTALL | re.MULTILINE)
# The guides' runs keep one checkpoint, but a preview at each takes longer than the training.
SHORT = ("--checkpoint-images=1000000", "--device=cpu")


@pytest.fixture(scope="module")
def followed(elucidiff: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything in signals-and-volumes.md was done, in a folder of its own; the names that its code defined."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("guide")
        patch.chdir(folder)
        for step in STEP.finditer((GUIDES / "signals-and-volumes.md").read_text(encoding="utf-8")):
            if step["code"]:
                exec(step["code"], names)
                continue
            words = shlex.split(step["command"])
            done = elucidiff(*words, *(SHORT if words[0] == "train" else ()))
            assert done.returncode == 0, done.stderr
            names.setdefault("said", []).append(done)
    return {**names, "folder": folder}


def test_samples_follow_the_vectors_that_were_asked_for(followed: dict[str, Any]) -> None:
    drawn, asked, bump = followed["bumps"], followed["asked"], followed["bump"]
    assert drawn.shape == (40, 16)
    assert followed["error"] < 0.15
    shuffled = np.sqrt(np.mean((drawn - bump(asked[::-1])) ** 2))
    assert shuffled > 0.3
    heights, places = drawn.max(1), (drawn**2 @ np.arange(16)) / (drawn**2).sum(1)
    assert np.corrcoef(heights, asked[:, 1])[0, 1] > 0.95
    assert np.corrcoef(places, asked[:, 0])[0, 1] > 0.95
    given = [entry["label"] for entry in followed["record"]["samples"]]
    np.testing.assert_array_equal(np.float32(given), asked)


def test_one_vector_for_all_seeds(followed: dict[str, Any]) -> None:
    files = sorted((followed["folder"] / "bumps-one").glob("*.npy"))
    mean = np.mean([np.load(file)[0] for file in files], axis=0)
    expected = followed["bump"](np.array([[-0.5, 0.8]]))[0]
    assert np.sqrt(np.mean((mean - expected) ** 2)) < 0.12
    with Image.open(followed["folder"] / "bumps-one" / "grid.png") as image:
        assert np.asarray(image.convert("L")).std() > 5


def test_volumes_keep_their_units_and_statistics(followed: dict[str, Any]) -> None:
    # Each has a standard error of 7% for 100 samples. An untrained network gives 5, 5 and 6, and 31 beside.
    np.testing.assert_allclose(followed["std"], [30, 20, 10], atol=6.5)
    assert np.all(np.diff(followed["std"]) < -1)
    assert followed["beside"] < 12
    assert (followed["folder"] / "runs" / "gradients" / "samples" / "000000004800.png").is_file()


def test_what_the_commands_say(followed: dict[str, Any]) -> None:
    said = "".join(done.stdout for done in followed["said"])
    assert "8 samples in bumps-one" in said
    assert "each a float32 .npy array of shape (1, 16), in the units of the training data" in said
    assert "each a float32 .npy array of shape (1, 4, 4, 4), in the units of the training data" in said
    assert [done.stderr for done in followed["said"] if "warning" in done.stderr] == []
