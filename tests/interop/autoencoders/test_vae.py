"""Autoencoders of diffusers: the latents and pictures of diffusers called directly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import elucidiff as ed
from elucidiff.cli.main import main

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:diffusers")

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16), np.uint8)
UNIT = torch.from_numpy(PIXELS).float() / 127.5 - 1


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    np.save(tmp_path / "pictures.npy", PIXELS)
    return tmp_path / "pictures.npy"


def _kl(folder: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        norm_num_groups=2,
        scaling_factor=0.3,
    ).eval()
    vae.save_pretrained(folder)
    return vae


def test_a_variational_one_by_its_means_and_by_draws(pictures: Path, tmp_path: Path) -> None:
    vae = _kl(tmp_path / "pipeline" / "vae")
    with torch.no_grad():
        distribution = vae.encode(UNIT).latent_dist
    made = ed.data.import_latents(pictures, tmp_path / "means", tmp_path / "pipeline")
    dataset = ed.data.open(made.folder)
    torch.testing.assert_close(dataset.images(), 0.3 * distribution.mean, atol=1e-5, rtol=0)
    assert sorted(file.name for file in (made.folder / "autoencoder").iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]
    with torch.no_grad():
        expected = vae.decode(dataset.images() / 0.3).sample
    assert dataset.autoencoder is not None
    torch.testing.assert_close(dataset.autoencoder.decode(dataset.images()), expected, atol=1e-5, rtol=0)
    drawn = ed.data.import_latents(pictures, tmp_path / "drawn", tmp_path / "pipeline", sampled=True).folder
    unit = (torch.from_numpy(np.load(drawn / "images.npy")) / 0.3 - distribution.mean) / distribution.std
    assert abs(float(unit.mean())) < 4 / unit.numel() ** 0.5
    assert abs(float(unit.std()) - 1) < 4 / (2 * unit.numel()) ** 0.5


def test_a_tiny_one(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tiny = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(4, 4),
        decoder_block_out_channels=(4, 4),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=3,
    ).eval()
    tiny.save_pretrained(tmp_path / "tiny")
    made = ed.data.import_latents(pictures, tmp_path / "latents", tmp_path / "tiny")
    with torch.no_grad():
        expected = tiny.encode(UNIT).latents
    torch.testing.assert_close(ed.data.open(made.folder).images(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("resize", "channels", "said"),
    [("17", "3", "sides must be divisible by 2; import with --resize 16"), ("16", "1", "cannot encode pictures")],
)
def test_what_does_not_fit_is_refused_in_a_line(
    resize: str, channels: str, said: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _kl(tmp_path / "vae")
    changed = ["--resize", resize, "--channels", channels]
    assert (
        main(["data", "import", str(pictures), str(tmp_path / "out"), "--encode", str(tmp_path / "vae"), *changed])
        == 2
    )
    line = capsys.readouterr().err.strip()
    assert said in line
    assert "\n" not in line
