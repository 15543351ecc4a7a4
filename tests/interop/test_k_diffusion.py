"""k-diffusion's image_v1: one file with its settings, which opens like a model of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import elucidiff as ed
from elucidiff.interop import home_sample, k_diffusion
from tests.interop.foreign import cases, distance, golden, state_dict, tolerance


def published(name: str, to: Path, change: dict[str, Any] | None = None) -> Path:
    """The file as the library's script writes it: half-precision weights (which here are so, but for the features of
    the noise level), and the settings as text."""
    folder, case, _ = golden("k_diffusion", name)
    config = case["config"] | {"model": case["config"]["model"] | (change or {})}
    weights = state_dict(folder / "weights_0.safetensors")
    weights = {
        key: value.half() if torch.equal(value.half().float(), value) else value for key, value in weights.items()
    }
    save_file(weights, to / "model.safetensors", metadata={"config": json.dumps(config)})
    return to / "model.safetensors"


@pytest.mark.parametrize("name", cases("k_diffusion"))
def test_denoiser_and_its_own_samplers(name: str) -> None:
    folder, case, numbers = golden("k_diffusion", name)
    denoiser = k_diffusion.load(folder / "weights_0.safetensors", folder / "config.json")
    assert distance(denoiser(numbers["x"], numbers["sigma"]).detach(), numbers["D"]) < 2e-5
    assert (denoiser.sigma_min, denoiser.sigma_max) == (0.01, 80.0)
    for run, told in case["runs"].items():
        x = home_sample(denoiser, numbers[f"{run}/z"], told["steps"], sampler=run)
        assert distance(x, numbers[f"{run}/x_final"]) < tolerance(told), run


@pytest.mark.parametrize("name", cases("k_diffusion"))
def test_published_file_opens_by_itself(name: str, tmp_path: Path) -> None:
    _, case, numbers = golden("k_diffusion", name)
    denoiser = ed.load(published(name, tmp_path))
    assert distance(denoiser(numbers["x"], numbers["sigma"]).detach(), numbers["D"]) < 2e-5
    assert denoiser.sample_shape == numbers["x"].shape[1:]
    assert denoiser.preconditioning.sigma_data == case["config"]["model"]["sigma_data"]


def test_training_checkpoint(tmp_path: Path) -> None:
    folder, case, numbers = golden("k_diffusion", "plain")
    averaged = state_dict(folder / "weights_0.safetensors")
    raw = {name: value + 1 for name, value in averaged.items()}
    checkpoint: dict[str, Any] = {"config": case["config"], "model": raw, "model_ema": averaged, "step": 3}
    torch.save(checkpoint, tmp_path / "run.pth")
    denoiser = k_diffusion.load(tmp_path / "run.pth")
    assert distance(denoiser(numbers["x"], numbers["sigma"]).detach(), numbers["D"]) < 2e-5


def test_variance_and_levels_left_out(tmp_path: Path) -> None:
    """The channel of the variance comes last in the patches, and is no part of D."""
    folder, case, numbers = golden("k_diffusion", "plain")
    config = {"model": case["config"]["model"] | {"has_variance": True}}
    stored: dict[str, Tensor] = state_dict(folder / "weights_0.safetensors")
    for name in ("proj_out.weight", "proj_out.bias"):
        stored[name] = torch.cat([stored[name], torch.ones_like(stored[name][:1])])
    save_file(stored, tmp_path / "w.safetensors")
    denoiser = k_diffusion.load(tmp_path / "w.safetensors", config)
    assert distance(denoiser(numbers["x"], numbers["sigma"]).detach(), numbers["D"]) < 2e-5


def test_churn_as_there() -> None:
    folder, _, numbers = golden("k_diffusion", "plain")
    denoiser = k_diffusion.load(folder / "weights_0.safetensors", folder / "config.json")
    z = numbers["sample_heun/z"]
    draws = torch.randn(4, *z.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = home_sample(denoiser, z, 4, sampler="heun", step_noise=draws, s_churn=2.0, s_noise=1.01)
    churn = ed.Churn(2.0, noise_scale=1.01)
    sigmas = ed.steps.karras(4, 0.01, 80.0)
    ours = ed.sample(denoiser, z, sigmas, churn=churn, noise=lambda x, index: draws[index], batch_size=None)
    assert distance(x, ours) < 1e-5
    with pytest.raises(ValueError, match="give step_noise"):
        home_sample(denoiser, z, 4, s_churn=2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "image_transformer_v2"}, "type 'image_transformer_v2': only image_v1 is known"),
        ({"mapping_cond_dim": 4}, "takes conditions"),
        ({"depths": [1 << 13, 1]}, "too few"),
        ({"depths": "deep"}, "depths is 'deep', but must be a list"),
        ({"channels": [16, 1 << 20]}, "up to 16384"),
        ({"input_size": [True, 16]}, "input_size is True"),
        ({"sigma_data": "half"}, "sigma_data is 'half'"),
        ({"mapping_out": 33}, "mapping_out must be even"),
        ({"self_attn_depths": [True, True]}, "the weights lack u_net.d_blocks.0.2"),
        ({"patch_size": 0}, "patch_size"),
    ],
)
def test_settings_that_describe_no_network(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ed.load(published("plain", tmp_path, change))
    assert str(tmp_path / "model.safetensors") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="is no model that says what it is"):
        ed.load(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="give config"):
        k_diffusion.load(tmp_path / "w.safetensors")
    with pytest.raises(FileNotFoundError):
        ed.load(tmp_path / "none")
