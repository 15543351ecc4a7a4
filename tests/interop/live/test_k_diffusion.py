"""k-diffusion itself: its samplers on our denoisers, and its wrappers and networks as denoisers of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.interop import home_sample, k_diffusion
from tests.denoisers.backends.made import denoiser as made_denoiser
from tests.interop.closed_form import TABLE

K = pytest.importorskip("k_diffusion", reason="k-diffusion is not installed (it needs wandb and clip, too)")
SHAPE = (2, 8, 8)


def distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["heun", "euler", "dpmpp_2m"])
@torch.no_grad()
def test_its_samplers_on_our_model(name: str) -> None:
    ours = made_denoiser("ddpmpp", (1, 8, 8), 3)
    z, labels = noise(4, 1, 8, 8), torch.tensor([0, 2, 1, 0])
    sigmas = K.sampling.get_sigmas_karras(8, 0.02, 40.0)
    sampler = getattr(K.sampling, f"sample_{name}")
    model = k_diffusion.to_k_diffusion(ours)
    theirs = sampler(model, z * sigmas[0], sigmas, extra_args={"class_cond": labels}, disable=True)
    found = ed.sample(ours, z, sigmas.double(), solver=name, labels=labels)
    assert distance(found, theirs) < 1e-5


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, **_: Any) -> Tensor:
        return self.last(torch.tanh(self.first(x) + torch.sin(t.to(x.dtype) / 50).reshape(-1, 1, 1, 1)))


@torch.no_grad()
def test_its_wrapper_around_epsilon() -> None:
    """``DiscreteEpsDDPMDenoiser`` interpolates log sigma in the table, as ``between="interpolated"`` does."""
    network = Network()
    theirs = K.external.DiscreteEpsDDPMDenoiser(network, TABLE.float(), quantize=False)
    adapted = k_diffusion.adapt(theirs, SHAPE)
    time = ed.adapters.DiscreteTime(TABLE, between="interpolated")
    ours = ed.adapters.AdaptedDenoiser(network, "epsilon", time, sample_shape=SHAPE)
    assert (adapted.sigma_min, adapted.sigma_max) == pytest.approx((ours.sigma_min, ours.sigma_max), rel=1e-3)
    for sigma in (0.02, 0.7, 5.0, 100.0):
        x = noise(3, *SHAPE) * (1 + sigma)
        assert distance(adapted(x, sigma), ours(x, sigma)) < 1e-4  # its table is of float32
    sigmas = ed.steps.karras(8, 0.02, 100.0)
    z = noise(3, *SHAPE)
    home = K.sampling.sample_heun(theirs, z * sigmas[0].float(), sigmas.float(), disable=True)
    assert distance(ed.sample(adapted, z, sigmas), home) < 1e-5


@torch.no_grad()
def test_its_wrapper_around_v() -> None:
    network = Network()
    adapted = k_diffusion.adapt(K.external.VDenoiser(network), SHAPE, sigma_min=0.01, sigma_max=100.0)
    z, sigmas = noise(3, *SHAPE), ed.steps.karras(8, 0.01, 100.0)
    home = K.sampling.sample_dpmpp_2m(K.external.VDenoiser(network), z * 100, sigmas.float(), disable=True)
    assert distance(ed.sample(adapted, z, sigmas, solver="dpmpp_2m"), home) < 1e-5


@torch.no_grad()
def test_a_network_of_its_own_from_its_file(tmp_path: Path) -> None:
    """The model is made by the library with random weights, and read by ours from the file that it publishes."""
    config: dict[str, Any] = {
        "model": {
            "type": "image_v1", "input_channels": 3, "input_size": [16, 16], "patch_size": 1, "mapping_out": 64,
            "depths": [1, 2], "channels": [32, 64], "self_attn_depths": [False, True], "has_variance": False,
            "augment_wrapper": True, "augment_prob": 0.0, "sigma_data": 0.6, "sigma_min": 0.02, "sigma_max": 60.0,
            "sigma_sample_density": {"type": "lognormal", "mean": -1.2, "std": 1.2}, "dropout_rate": 0.0,
        },
        "dataset": {"type": "imagefolder", "location": "."},
        "optimizer": {"type": "adamw", "lr": 1e-4, "betas": [0.95, 0.999], "eps": 1e-6, "weight_decay": 1e-3},
        "lr_sched": {"type": "constant"},
        "ema_sched": {"type": "inverse", "power": 0.6667, "max_value": 0.9999},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    config = K.config.load_config(str(tmp_path / "config.json"))
    torch.manual_seed(0)
    inner = K.config.make_model(config)
    for parameter in inner.parameters():  # none is silent
        parameter.add_(
            0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
        )
    theirs = K.config.make_denoiser_wrapper(config)(inner).eval()
    save_file(inner.state_dict(), tmp_path / "model.safetensors", metadata={"config": json.dumps(config)})
    ours = ed.load(tmp_path / "model.safetensors")
    x, sigma = 3 * noise(2, 3, 16, 16), torch.tensor([0.3, 5.0])
    assert distance(ours(x, sigma), theirs(x, sigma)) < 1e-4
    z, sigmas = noise(2, 3, 16, 16), K.sampling.get_sigmas_karras(10, 0.02, 60.0)
    for name in ("heun", "dpmpp_2m"):
        home = getattr(K.sampling, f"sample_{name}")(theirs, z * sigmas[0], sigmas, disable=True)
        assert distance(home_sample(ours, z, 10, sampler=name), home) < 1e-4
        assert distance(ed.sample(ours, z, sigmas.double(), solver=name), home) < 1e-4
