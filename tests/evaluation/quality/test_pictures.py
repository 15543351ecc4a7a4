"""Pictures in what ``elucidiff sample`` writes, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.data import to_uint8
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.evaluation.quality import open_images
from elucidiff.networks import UNet
from elucidiff.sampling import Sampler


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=())
    path = tmp_path_factory.mktemp("model") / "model"
    Denoiser(network, ed.preconditioning.EDM()).save(path)
    return path


@pytest.mark.parametrize("form", [["--grid"], ["--format", "zip"], ["--format", "tar"], ["--format", "subfolders"]])
def test_every_form_of_samples(form: list[str], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "samples"
    words = ["sample", str(model), "--seeds", "3-12", "--n", "2", "--out", str(out), "--processes", "1", *form]
    words += [] if form == ["--grid"] else ["--shard-size", "4"]
    assert main([*words, "--device", "cpu", "--backend", "eager"]) == 0
    found = open_images(out)
    expected = to_uint8(Sampler(steps="karras:n=2").run(ed.load(model), range(3, 13)).x)
    assert torch.equal(found.images(), expected)
    if form[-1] == "tar":
        first = sorted(out.glob("*.tar"))[0]
        assert torch.equal(open_images(first).images(), expected[:4])
        assert open_images(first).name == first.stem


def test_samples_that_are_gone_or_no_pictures(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "0.png")
    for listing, says in (
        ("{", "is damaged"),
        (json.dumps({"samples": []}), "lists no samples"),
        (json.dumps({"samples": [{"file": "0.png"}, {"file": "1.png"}]}), "lists 1.png, which is not there"),
        (json.dumps({"samples": [{"file": "0.npy"}]}), "holds arrays in files of their own"),
    ):
        (tmp_path / "samples.json").write_text(listing)
        with pytest.raises(ValueError, match=says):
            open_images(tmp_path)


def test_damaged_archives(tmp_path: Path) -> None:
    for content in (b"", b"not an archive" * 100):
        (tmp_path / "some.tar").write_bytes(content)
        with pytest.raises(ValueError, match=r"some\.tar (is truncated or not a tar archive|holds no images)"):
            open_images(tmp_path / "some.tar")
    (tmp_path / "some.tar").unlink()
    (tmp_path / "some.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"some\.zip is truncated or not a zip archive"):
        open_images(tmp_path)
