"""``elucidiff sample --guidance``: what is recorded, what it costs, and what is refused before anything is done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import elucidiff as ed
from tests.e2e.conftest import Run
from tests.e2e.test_bad_input import refused

FAST = ("--seeds", "0-3", "--n", "3", "--device", "cpu", "--processes", "1")


def save(folder: Path, seed: int = 0, **settings: Any) -> Path:
    """A model folder of an untrained network whose output depends on its labels."""
    shape = settings.pop("shape", (1, 8, 8))
    settings = {"label_dim": 10, "label_dropout": 0.1, "base_channels": 8, **settings}
    network = ed.networks.UNet(
        shape, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=(), **settings
    )
    random = np.random.default_rng(seed)
    for parameter in network.parameters():
        parameter.data.copy_(parameter.data.new_tensor(random.normal(0, 0.2, tuple(parameter.shape))))
    ed.Denoiser(network, ed.preconditioning.EDM()).save(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folders: a model, smaller and other ones."""
    folder = tmp_path_factory.mktemp("models")
    save(folder / "model")
    shutil.copytree(folder / "model", folder / "copy")
    save(folder / "smaller", 1, base_channels=4)
    save(folder / "undropped", 2, label_dropout=0.0)
    save(folder / "unlabelled", 3, label_dim=0, label_dropout=0.0)
    save(folder / "fewer-classes", 4, label_dim=3)
    save(folder / "larger-images", 5, shape=(1, 16, 16))
    return folder


def pixels(folder: Path) -> np.ndarray[Any, Any]:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


@pytest.mark.parametrize(
    ("flags", "nfe", "values"),
    [
        (("--guidance", "2"), 10, {"weight": 2.0, "sigma_min": 0.0, "sigma_max": "inf"}),
        # Of the levels 80, 2.5 and 0.002 Heun comes to the middle one twice.
        (
            ("--guidance", "2,sigma_min=0.1,sigma_max=9"),
            7,
            {"weight": 2.0, "sigma_min": 0.1, "sigma_max": 9.0},
        ),
        (("--guidance", "2", "--guide", "smaller"), 10, {"weight": 2.0}),
        (("--guidance", "2", "--guide", "unlabelled"), 10, {"weight": 2.0}),
        (("--guidance", "0"), 5, {"weight": 0.0}),
    ],
    ids=["classifier-free", "interval", "autoguidance", "unconditional guide", "unconditional"],
)
def test_samples_and_their_record(
    elucidiff: Run, models: Path, tmp_path: Path, flags: tuple[str, ...], nfe: int, values: dict[str, Any]
) -> None:
    words = [str(models / word) if word in ("smaller", "unlabelled") else word for word in flags]
    done = elucidiff("sample", models / "model", *FAST, *words, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert f"{nfe} evaluations each" in done.stdout
    record = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert record["nfe"] == {"per_sample_mean": nfe, "total": 4 * nfe}
    assert record["sampler"]["guidance"].items() >= values.items()
    guide = ed.load(words[-1]) if "--guide" in words else None
    assert record.get("guide") == (words[-1] if guide else None)
    sampler = ed.Sampler.from_plain(record["sampler"])
    x = sampler.run(ed.load(models / "model"), range(4), guide=guide).x
    wanted = (x * 127.5 + 128).clamp(0, 255).byte()[:, 0].numpy()
    assert np.abs(pixels(tmp_path / "out").astype(int) - wanted).max() <= 1


def test_another_guide_is_another_job(elucidiff: Run, models: Path, tmp_path: Path) -> None:
    words = ("sample", models / "model", *FAST, "--guidance", "2", "--out", tmp_path)
    assert elucidiff(*words, "--guide", models / "smaller").returncode == 0
    before = pixels(tmp_path)
    assert "guide" in refused(elucidiff, *words, "--guide", models / "unlabelled")
    assert np.array_equal(pixels(tmp_path), before)


@pytest.mark.parametrize(
    ("model", "flags", "says"),
    [
        ("unlabelled", ("--guidance", "2"), "this one is unconditional"),
        ("undropped", ("--guidance", "2"), "trained without label dropout"),
        ("model", ("--guidance", "-1"), "guidance is -1, but must be a finite number >= 0"),
        (
            "model",
            ("--guidance", "2,sigma_min=3,sigma_max=1"),
            "upside down or empty: it begins at 3 and ends at 1",
        ),
        ("model", ("--guidance", "2,sigma_min=-1"), "noise levels are not negative"),
        ("model", ("--guidance", "sigma_min=1"), "sigma_min would have no effect in guidance"),
        ("model", ("--guide", "smaller"), "the guide would do nothing with guidance 1"),
        ("model", ("--guidance", "2", "--guide", "model"), "is the same model as"),
        ("model", ("--guidance", "2", "--guide", "copy"), "is the same model as"),
        (
            "model",
            ("--guidance", "2", "--guide", "fewer-classes"),
            "takes labels of 3 classes, the model labels of 10",
        ),
        ("unlabelled", ("--guidance", "2", "--guide", "smaller"), "takes labels of 10 classes, the model no labels"),
        ("model", ("--guidance", "2", "--guide", "larger-images"), "the guide has samples of shape (1, 16, 16)"),
        ("model", ("--guidance", "2", "--guide", "nowhere"), "nowhere"),
        ("model", ("--guidence", "2"), "did you mean --guidance?"),
    ],
)
def test_mistakes(
    elucidiff: Run, models: Path, tmp_path: Path, model: str, flags: tuple[str, ...], says: str
) -> None:
    words = [str(models / word) if flags[index - 1] == "--guide" else word for index, word in enumerate(flags)]
    assert says in refused(elucidiff, "sample", models / model, *FAST, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
