"""A model of each kind from elsewhere as one file that samples: ``convert MODEL out.onnx``, and ``out.pt2``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.cli.main import main
from tests.e2e.test_foreign_models import KINDS
from tests.interop.diffusers.folders import pipeline
from tests.interop.foreign import distance

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning:diffusers", "ignore:sigma goes from"),
]

EXPORTED = KINDS | {
    "diffusers x0": lambda at: pipeline(at / "x0", "x0", "dpmpp2m_linspace"),
    "diffusers classes": lambda at: pipeline(at / "classes", "classes", "ddim_trailing"),
}
CHOICES = ("--solver", "ipndm:order=2", "--n", "4")
TEXT = "ipndm:order=2 steps=karras:n=4"


def sampled(file: Path, z: Tensor, labels: Tensor | None) -> Tensor:
    """What the file itself makes, without the library."""
    if file.suffix == ".pt2":
        given = () if labels is None else (labels,)
        found: Tensor = torch.export.load(file).module()(z, *given)
        return found
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    values = {"latents": z.numpy()} | ({} if labels is None else {"labels": labels.numpy()})
    (made,) = session.run(None, values)
    assert json.loads(session.get_modelmeta().custom_metadata_map["elucidiff"])["evaluations"] == 4
    return torch.from_numpy(np.asarray(made))


@pytest.mark.parametrize("kind", EXPORTED)
def test_the_file_samples_as_the_library_does(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = EXPORTED[kind](tmp_path)
    model = ed.load(source)
    sampler = ed.Sampler.parse(TEXT)
    z = torch.randn(3, *model.sample_shape, generator=torch.Generator().manual_seed(5))
    labels = torch.tensor([0, 1, 1]) if model.label_dim else None
    prepared = sampler.prepare(model)
    expected = prepared.sample(sampler.guided(model), z, labels=labels)
    for suffix in (".onnx", ".pt2"):
        file = tmp_path / f"out{suffix}"
        assert main(["convert", str(source), str(file), *CHOICES]) == 0, capsys.readouterr().err
        found = distance(sampled(file, z, labels), expected)
        print(f"{kind} {suffix}: {found:.1e}")
        assert found < 1e-4


def test_a_latent_model_makes_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    folder = latent(tmp_path)
    model = ed.load(folder)
    autoencoder = ed.interop.diffusers.load_autoencoder(folder)
    z = torch.randn(3, *model.sample_shape, generator=torch.Generator().manual_seed(5))
    sampler = ed.Sampler.parse(TEXT)
    drawn = sampler.prepare(model).sample(sampler.guided(model), z)
    images = autoencoder.decode(drawn.float())
    assert images.shape == (3, 3, 16, 16)
    for suffix in (".onnx", ".pt2"):
        file = tmp_path / f"images{suffix}"
        assert main(["convert", str(folder), str(file), *CHOICES]) == 0, capsys.readouterr().err
        assert "from latents to images, within" in capsys.readouterr().out
        assert distance(sampled(file, z, None), images) < 1e-4
    kept = tmp_path / "latents.onnx"
    assert main(["convert", str(folder), str(kept), "--no-decode", *CHOICES]) == 0
    assert distance(sampled(kept, z, None), drawn) < 1e-4
    alone = tmp_path / "denoiser.onnx"
    assert main(["convert", str(folder), str(alone)]) == 0
    session = onnxruntime.InferenceSession(str(file.with_suffix(".onnx")), providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["elucidiff"])
    assert (about["shape"], about["latent_shape"], about["output"]) == ([3, 16, 16], list(z.shape[1:]), "images")
    assert about["values"].startswith("in [-1, 1]")


def latent(root: Path) -> Path:
    """A pipeline of a network for latents of 4 channels, and an autoencoder for images of twice the size."""
    diffusers = pytest.importorskip("diffusers")
    folder = pipeline(root / "latent", "eps", "ddim_default", clip_sample=False)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 8), norm_num_groups=2, latent_channels=4, scaling_factor=0.3, shift_factor=0.1,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    for file in (folder / "unet").iterdir():
        file.unlink()
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    return folder
