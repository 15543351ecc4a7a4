"""Our figures are those of torch-fidelity's own command line, on the same files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity.fidelity import main

from elucidiff.evaluation.quality import (
    Evaluator,
    OfDataset,
    extract_features,
    open_extractor,
    open_images,
    open_reference,
)
from elucidiff.evaluation.quality.reference import BlockStore
from tests.evaluation.quality.small import script

KEYS = {
    "fid": "frechet_inception_distance",
    "kid": "kernel_inception_distance_mean",
    "precision": "precision",
    "recall": "recall",
    "is": "inception_score_mean",
}


def pictures(folder: Path, seed: int, count: int, mode: str = "RGB") -> Path:
    """Smooth coloured noise as PNG files of 12 x 10."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for k in range(count):
        small = Image.fromarray(generator.integers(0, 256 - 20 * seed, (3, 3, 3), dtype=np.uint8))
        small.resize((12, 10), Image.Resampling.BICUBIC).convert(mode).save(folder / f"{k:04d}.png")
    return folder


def theirs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, float]:
    """What ``fidelity`` prints."""
    monkeypatch.setattr(sys, "argv", ["fidelity", "--cpu", "--json", "--silent", "--no-cache", *words])
    capsys.readouterr()
    main()
    found: dict[str, float] = json.loads(capsys.readouterr().out)
    return found


def ours(first: Path, second: Path, extractor: str, metrics: list[str], tmp_path: Path) -> dict[str, float]:
    """The same from folders."""
    opened = open_extractor(extractor, batch_size=16)
    evaluator = Evaluator(opened, open_reference(open_images(second), opened, cache=tmp_path / "cache"), metrics)
    rows = extract_features(OfDataset(open_images(first)), opened, BlockStore(tmp_path / "rows")).features
    return evaluator.values(rows)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_torchscript_extractor(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = script(tmp_path / "colours.pt")
    first, second = pictures(tmp_path / "a", 1, 70, mode), pictures(tmp_path / "b", 2, 90, mode)
    found = ours(first, second, str(file), ["fid", "kid", "precision", "recall"], tmp_path)
    said = theirs(
        capsys, monkeypatch, "--input1", str(first), "--input2", str(second), "--fid", "--kid", "--prc",
        "--kid-subset-size", "70", "--batch-size", "16", "--feature-extractor", "torchscript",
        "--feature-extractor-weights-path", str(file),
    )  # fmt: skip
    assert 0.005 < found["fid"] < 1
    assert 0 < found["recall"] < 1
    for name in ("kid", "precision", "recall"):
        assert found[name] == said[KEYS[name]]
    # Theirs takes the mean in float32, and eigenvalues of a product that is not symmetric.
    assert found["fid"] == pytest.approx(said[KEYS["fid"]], rel=1e-4 if mode == "RGB" else 1e-2)


@pytest.mark.slow
def test_efficientnet(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pictures(tmp_path / "a", 1, 40), pictures(tmp_path / "b", 2, 40)
    found = ours(first, second, "efficientnet-lite0", list(KEYS), tmp_path)
    said = theirs(
        capsys, monkeypatch, "--input1", str(first), "--input2", str(second), "--fid", "--kid", "--prc", "--isc",
        "--kid-subset-size", "40", "--batch-size", "16", "--feature-extractor", "efficientnet-lite0",
    )  # fmt: skip
    for name in ("kid", "precision", "recall", "is"):
        assert found[name] == said[KEYS[name]]
    assert found["fid"] == pytest.approx(said[KEYS["fid"]], rel=1e-3)


def test_efficientnet_knows_what_it_sees() -> None:
    """scikit-learn's two photographs: of a Chinese palace and of a daisy-like flower."""
    from sklearn.datasets import load_sample_images

    opened = open_extractor("efficientnet-lite0")
    squares = [
        torch.from_numpy(image.copy()).permute(2, 0, 1)[:, :, 106:533] for image in load_sample_images().images
    ]
    rows = opened(torch.stack(squares))
    assert (opened.dim, opened.classes, rows.shape) == (1280, 1000, (2, 2280))
    sure, seen = torch.from_numpy(rows[:, 1280:]).softmax(1).max(1)
    assert seen.tolist() == [698, 985]  # ImageNet's palace and daisy
    assert sure.tolist() == pytest.approx([0.352, 0.230], abs=0.003)  # other scalings of the pixels are less sure
