"""denoising-diffusion-pytorch itself, with random weights: its samplers against ours from the noise that it draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import elucidiff as ed
from elucidiff.interop import home_sample, lucidrains
from tests.interop.live.noise import Drawn, distance

theirs = pytest.importorskip(
    "denoising_diffusion_pytorch", reason="denoising-diffusion-pytorch is not installed (the extra dev has it)"
)
UNET: dict[str, Any] = {"dim": 8, "dim_mults": [1, 2], "channels": 3, "attn_heads": 2, "attn_dim_head": 4}


def made(wrapper: str, to: Path, **settings: Any) -> tuple[nn.Module, Any]:
    """The library's model with random weights, and ours from its state dict."""
    torch.manual_seed(0)
    unet = UNET | ({"learned_sinusoidal_cond": True} if wrapper == "ElucidatedDiffusion" else {})
    home = getattr(theirs, wrapper)(theirs.Unet(**unet), **settings).eval()
    with torch.no_grad():
        for parameter in home.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    torch.save(home.state_dict(), to / "model.pt")
    return home, lucidrains.load(to / "model.pt", wrapper, unet, **settings)


@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
@pytest.mark.parametrize("beta_schedule", ["linear", "cosine", "sigmoid"])
@torch.no_grad()
def test_ddim(objective: str, beta_schedule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, ours = made(
        "GaussianDiffusion", tmp_path, image_size=16, timesteps=100, sampling_timesteps=9, objective=objective,
        beta_schedule=beta_schedule,
    )  # fmt: skip
    drawn = Drawn(monkeypatch)
    expected = home.sample(batch_size=3)
    found = home_sample(ours, drawn[0], 9)
    assert distance((found + 1) / 2, expected) < 1e-4
    # DDIM is Euler's method on the clipped D, at the table's noise levels, the start included. Where the last of them
    # is as good as infinite, float32 tells the two apart.
    times = [t for t in lucidrains.visited_times(9, 100) if t >= 0]
    sigmas = torch.cat([ours.time.sigmas[times], torch.zeros(1, dtype=torch.float64)])
    z = drawn[0] * (1 + sigmas[0] ** 2) ** 0.5 / sigmas[0]
    stepped = ed.sample(ours, z, sigmas, solver="euler", clip="clamp")
    assert distance((stepped + 1) / 2, expected) < 1e-4


@torch.no_grad()
def test_ancestral(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, ours = made("GaussianDiffusion", tmp_path, image_size=16, timesteps=30, objective="pred_v")
    drawn = Drawn(monkeypatch)
    expected = home.sample(batch_size=2)
    # There is no draw for the last step, and what is drawn is used in order.
    steps = torch.stack([*drawn[1:], *[torch.zeros_like(drawn[0])] * (31 - len(drawn))])
    found = home_sample(ours, drawn[0], 30, step_noise=steps)
    assert distance((found + 1) / 2, expected) < 1e-4


@pytest.mark.parametrize("churn", [0.0, 80.0])
@torch.no_grad()
def test_elucidated(churn: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, ours = made(
        "ElucidatedDiffusion", tmp_path, image_size=16, channels=3, num_sample_steps=8, S_churn=churn, sigma_data=0.4
    )
    drawn = Drawn(monkeypatch)
    expected = home.sample(batch_size=2)
    noise = torch.stack(list(drawn[1:]))
    found = home_sample(ours, drawn[0], 8, step_noise=noise)
    assert distance((found + 1) / 2, expected) < 1e-4
    sampler = ed.Churn(churn, 0.05, 50.0, 1.003) if churn else None
    stepped = ed.sample(
        ours, drawn[0], "karras:n=8", solver="heun", churn=sampler, clip="clamp", noise=lambda x, k: noise[k].to(x)
    )
    assert distance((stepped.clamp(-1, 1) + 1) / 2, expected) < 1e-4
