"""lucidrains' GaussianDiffusion and ElucidatedDiffusion: the network, D, and what their samplers return."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import elucidiff as ed
from elucidiff.design.values import per_sample
from elucidiff.interop import home_sample, lucidrains
from elucidiff.interop.lucidrains_unet import LucidUnet
from tests.interop.foreign import FOREIGN, cases, distance, golden, state_dict, tolerance

COSINE = golden("lucidrains", "x0_cosine")[1]


def opened(name: str) -> tuple[Any, dict[str, Any], dict[str, torch.Tensor]]:
    folder, case, numbers = golden("lucidrains", name)
    return lucidrains.load(folder, case["wrapper"], case["unet"], **case["wrapper_settings"]), case, numbers


@pytest.mark.parametrize("name", cases("lucidrains"))
@torch.no_grad()
def test_network_and_denoiser(name: str) -> None:
    denoiser, case, numbers = opened(name)
    x, sigma = numbers["x"], numbers["sigma"]
    if case["wrapper"] == "ElucidatedDiffusion":
        seen = per_sample(denoiser.preconditioning.c_in(sigma), x) * x
        assert distance(denoiser.network(seen, sigma.log() / 4), numbers["raw"]) < 2e-5
        assert distance(denoiser(x, sigma), numbers["D"]) < 2e-5
        return
    torch.testing.assert_close(denoiser.time.alpha_bars.float(), numbers["alphas_cumprod"], rtol=1e-6, atol=1e-7)
    assert distance(denoiser.network(numbers["x_t"], numbers["t"]), numbers["raw"]) < 2e-5
    denoised = denoiser(x, sigma)
    assert distance(denoised, numbers["x0"]) < 2e-5
    clipped = denoised.clamp(-1, 1)
    assert distance(clipped, numbers["x0_clipped"]) < 5e-5
    # The noise that goes with it is that of a step of ours from the clipped D.
    assert distance((x - clipped) / per_sample(sigma, x), numbers["noise_clipped"]) < 5e-5


@pytest.mark.parametrize("name", cases("lucidrains"))
def test_its_own_samplers(name: str) -> None:
    denoiser, case, numbers = opened(name)
    for run, told in case["runs"].items():
        options = {key: told[key] for key in ("sampler", "eta", "S_churn", "clamp") if key in told}
        noise = numbers.get(f"{run}/noise", numbers.get(f"{run}/step_noise"))
        x = home_sample(denoiser, numbers[f"{run}/z"], told["steps"], step_noise=noise, **options)
        assert distance((x + 1) / 2, numbers[f"{run}/x_final_01"]) < tolerance(told), run
        if f"{run}/timesteps" in numbers:
            times = lucidrains.visited_times(told["steps"], len(denoiser.time.alpha_bars))
            assert times == numbers[f"{run}/timesteps"].tolist()


def test_samplers_by_default() -> None:
    """DDIM where fewer times are visited than there are, and churn where there is noise for it."""
    denoiser, _, numbers = opened("x0_cosine")
    z, noise = numbers["ancestral/z"], numbers["ancestral/step_noise"]
    assert torch.equal(home_sample(denoiser, z, step_noise=noise), home_sample(denoiser, z, 40, step_noise=noise))
    assert torch.equal(home_sample(denoiser, z, 12), home_sample(denoiser, z, 12, sampler="ddim", eta=0.0))
    with pytest.raises(ValueError, match="of which 'ancestral' visits all"):
        home_sample(denoiser, z, 12, sampler="ancestral", step_noise=noise[:12])
    with pytest.raises(ValueError, match="give step_noise"):
        home_sample(denoiser, z)
    denoiser, _, numbers = opened("elucidated")
    z = numbers["heun10/z"]
    assert torch.equal(home_sample(denoiser, z, 4), home_sample(denoiser, z, 4, S_churn=0.0))
    draws = torch.randn(4, *z.shape, generator=torch.Generator().manual_seed(0))
    churned = home_sample(denoiser, z, 4, step_noise=draws)
    assert torch.equal(churned, home_sample(denoiser, z, 4, step_noise=draws, S_churn=80.0, S_tmax=50.0))
    assert distance(churned, home_sample(denoiser, z, 4)) > 1e-2


def test_checkpoint_of_the_trainer(tmp_path: Path) -> None:
    """It holds the averaged model beside the last one, each under its wrapper's words."""
    folder, case, numbers = golden("lucidrains", "x0_cosine")
    averaged = state_dict(folder / "weights_0.safetensors")
    last = {name: value + 1 for name, value in averaged.items()}
    ema = {
        f"{part}_model.{name}": value
        for part, model in (("online", last), ("ema", averaged))
        for name, value in model.items()
    }
    torch.save({"step": 3, "model": last, "ema": ema, "version": "2.3.4"}, tmp_path / "model-1.pt")
    denoiser = lucidrains.load(
        tmp_path / "model-1.pt", case["wrapper"], case["unet"], **case["wrapper_settings"], auto_normalize=True
    )
    assert distance(denoiser(numbers["x"], numbers["sigma"]).detach(), numbers["x0"]) < 2e-5


def test_ours_goes_the_same_way() -> None:
    denoiser, _, numbers = opened("elucidated")
    sigmas = ed.steps.karras(18, 0.002, 80.0)
    x = ed.sample(denoiser, numbers["heun18_noclamp/z"], sigmas).clamp(-1, 1)
    assert distance((x + 1) / 2, numbers["heun18_noclamp/x_final_01"]) < 2e-5


@pytest.mark.parametrize(
    "change",
    [
        {"init_dim": 12, "out_dim": 2},
        {"learned_variance": True, "dim_mults": [1, 2, 3]},
        {"random_fourier_features": True, "learned_sinusoidal_dim": 6},
        {"full_attn": [True, False], "attn_heads": [2, 1], "attn_dim_head": [4, 8]},
        {"channels": 1, "sinusoidal_pos_emb_theta": 100},
    ],
)
def test_every_setting_makes_a_network(change: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"dim": 8, "dim_mults": [1, 2], "attn_heads": 2, "attn_dim_head": 4} | change
    network = LucidUnet(image_size=(8, 4), **settings)
    channels = settings.get("channels", 3)
    out = network(torch.randn(2, channels, 8, 4), torch.tensor([3, 7]))
    expected = settings.get("out_dim", channels * (2 if settings.get("learned_variance") else 1))
    assert out.shape == (2, expected, 8, 4)
    out.square().sum().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
    assert network.sample_shape == (channels, 8, 4)


@pytest.mark.parametrize(
    ("unet", "settings", "message"),
    [
        ({"dims": 8}, {}, "Unet has no setting 'dims': did you mean 'dim'"),
        ({"self_condition": True}, {}, "self_condition is on"),
        ({"attn_heads": [4]}, {}, "attn_heads has 1 entries for 2 levels"),
        ({"dim": "wide"}, {}, "describe no network"),
        ({"full_attn": False}, {}, "lack"),
        ({}, {"objective": "pred_eps"}, "objective is 'pred_eps'"),
        ({}, {"timestep": 40}, "did you mean 'timesteps'"),
        ({}, {"timesteps": 50}, "are not those of the checkpoint"),
        ({}, {"beta_schedule": "linear"}, "are not those of the checkpoint"),
        ({}, {"beta_schedule": "cosin"}, "did you mean 'cosine'"),
        ({}, {"schedule_fn_kwargs": {"a": 1}}, "not those of the schedule cosine"),
        ({}, {"image_size": None}, "image_size is missing"),
        ({}, {"ddim_sampling_eta": "0"}, "must be a number"),
    ],
)
def test_wrong_settings(unet: dict[str, Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lucidrains.load(
            FOREIGN / "lucidrains" / "x0_cosine",
            "GaussianDiffusion",
            COSINE["unet"] | unet,
            **(COSINE["wrapper_settings"] | settings),
        )
    with pytest.raises(ValueError, match="did you mean 'GaussianDiffusion'"):
        lucidrains.load("none", "Gaussian", {})
