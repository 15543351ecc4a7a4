"""Snapshots of EDM2: read as data, with all that they say, and kept as model folders."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

import elucidiff as ed
from elucidiff.interop import nvlabs
from tests.golden_files import GOLDEN, load

CASES = ["uncond_rgb", "cond_latent", "grey_balances", "clip_default", "one_level", "old_layout"]


def outputs(denoiser, tensors):
    with torch.no_grad():
        D = denoiser(tensors["x"], tensors["sigma"], tensors.get("class_labels"))
        return D, denoiser.network.log_variance(tensors["sigma"].log() / 4)


@pytest.mark.parametrize("name", CASES)
def test_snapshot_gives_the_reference_outputs_here_and_as_a_model_folder(name, tmp_path):
    case, tensors = load(f"m_edm2/{name}")
    denoiser = nvlabs.load(GOLDEN / f"m_edm2/{name}.pkl")
    D, log_variance = outputs(denoiser, tensors)
    torch.testing.assert_close(D, tensors["D"], rtol=0, atol=1e-5 * case["largest_D"])
    torch.testing.assert_close(log_variance, tensors["logvar"].flatten(), rtol=1e-5, atol=1e-5)
    if "D_half_params" in tensors:
        torch.testing.assert_close(D, tensors["D_half_params"], rtol=0, atol=1e-3 * case["largest_D"])
    assert (denoiser.sigma_min, denoiser.sigma_max) == (0, float("inf"))
    assert denoiser.facts["provenance"]["format"] == "NVlabs/edm2 snapshot"
    assert denoiser.facts["data"] == case["dataset_kwargs"]

    denoiser.save(tmp_path / "model")
    again = ed.load(tmp_path / "model")
    assert again.facts["encoder"] == denoiser.facts["encoder"]
    for one, other in zip(outputs(again, tensors), (D, log_variance), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", CASES)
def test_the_encoder_is_recorded(name):
    case, tensors = load(f"m_edm2/{name}")
    encoder = nvlabs.load(GOLDEN / f"m_edm2/{name}.pkl").facts["encoder"]
    if case["encoder"] == "StandardRGBEncoder":
        assert encoder == {"type": "rgb"}
        return
    assert encoder["type"] == "stability-vae"
    assert encoder["vae_name"].startswith("stabilityai/")
    scale, bias = (torch.tensor(encoder[key]).reshape(-1, 1, 1) for key in ("scale", "bias"))
    mean, std = tensors["encoder/raw"].chunk(2, dim=1)
    latents = (mean + tensors["encoder/noise"] * std) * scale + bias
    torch.testing.assert_close(latents, tensors["encoder/final"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"StabilityVAEEncoder", b"StabilityVAEEncodeX", "the encoder in it is none of NVlabs/edm2"),
        (b"\x8c\x08vae_name", b"\x8c\x08vae_nam2", "the encoder in it is not laid out"),
        (b"\x8c\x05scale", b"\x8c\x05scal2", "the scale of the encoder in it is no short vector"),
        (b"\x8c\x04unet", b"\x8c\x04unex", "holds no UNet"),
        (b"channel_mult", b"channel_mulX", "Precond has no argument 'channel_mulX'"),
        (b"logvar_fourier", b"logvar_fouriex", "the weights lack logvar_fourier"),
    ],
)
def test_what_is_not_laid_out_so_is_one_line(old, new, message, tmp_path):
    content = (GOLDEN / "m_edm2/cond_latent.pkl").read_bytes()
    assert old in content
    path = tmp_path / "changed.pkl"
    path.write_bytes(content.replace(old, new))
    with pytest.raises(ValueError, match=message) as raised:
        nvlabs.load(path)
    assert "\n" not in str(raised.value)


def test_arrays_cannot_be_used_to_make_other_things(tmp_path):
    path = tmp_path / "array.pkl"
    array = pickle.dumps({"ema": np.zeros(3, dtype=np.float32)}, 4)
    path.write_bytes(array)
    with pytest.raises(ValueError, match="numpy array' is unknown"):
        nvlabs.load(path)
    path.write_bytes(array.replace(b"ndarray", b"matrix\x00"))
    with pytest.raises(ValueError, match="cannot read"):
        nvlabs.load(path)
