"""``model(x, sigma, **extra_args)``: our denoisers as models of k-diffusion, and theirs as denoisers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.interop import k_diffusion
from tests.denoisers.backends.made import denoiser as made_denoiser

SIGMAS = ed.steps.karras(9, 0.02, 40.0)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def euler_there(model: Any, x: Tensor, extra_args: dict[str, Any]) -> Tensor:
    """Algorithm 1 of Karras et al. 2022 without corrections, as a sampler of that convention calls a model."""
    for sigma, following in itertools.pairwise(SIGMAS):
        denoised = model(x, sigma * x.new_ones(x.shape[0]), **extra_args)
        x = x + (following - sigma) * (x - denoised) / sigma
    return x


@torch.no_grad()
def test_our_denoiser_among_their_samplers() -> None:
    ours = ed.ideal.DataPosterior(torch.tensor([[-1.0], [0.4], [1.0]]), torch.eye(3))
    model = k_diffusion.to_k_diffusion(ours)
    z = noise(6, 1)
    for extra, labels in (({}, None), ({"class_cond": torch.tensor([0, 1, 2, 2, 1, 0])}, [0, 1, 2, 2, 1, 0])):
        given: Any = None if labels is None else torch.tensor(labels)
        expected = ed.sample(ours, z, SIGMAS, solver="euler", labels=given)
        assert (euler_there(model, z * SIGMAS[0], extra) - expected).abs().max() < 1e-9
    # With its class known, each sample is that point.
    found = euler_there(model, z * SIGMAS[0], {"class_cond": torch.tensor([0, 1, 2, 2, 1, 0])})
    assert found.flatten().tolist() == pytest.approx([-1, 0.4, 1, 1, 0.4, -1], abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("presence", [False, True])
def test_the_number_after_the_last_is_no_class(presence: bool) -> None:
    ours = made_denoiser("mp-unet", (1, 8, 8), 3, label_presence=presence)
    model = k_diffusion.to_k_diffusion(ours)
    x, sigma = noise(3, 1, 8, 8).float(), torch.tensor([0.1, 1.0, 9.0])
    assert torch.equal(model(x, sigma, class_cond=torch.full((3,), 3)), ours(x, sigma))
    assert torch.equal(model(x, sigma, class_cond=torch.tensor([2, 0, 1])), ours(x, sigma, torch.tensor([2, 0, 1])))
    assert not torch.equal(model(x, sigma, class_cond=torch.tensor([2, 0, 1])), ours(x, sigma))
    assert model(x.double(), sigma.double()).dtype == torch.float64
    assert (model.sigma_min, model.sigma_max, model.sigma_data) == (ours.sigma_min, ours.sigma_max, 0.5)


class Theirs(nn.Module):
    """Of unit Gaussian data around the class's number, in float32, with sigma (B,) and classes (B,) as numbers."""

    sigma_min, sigma_max = torch.tensor(0.03), torch.tensor(14.6)

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, sigma: Tensor, class_cond: Tensor | None = None) -> Tensor:
        assert sigma.shape == (len(x),)
        assert x.dtype == sigma.dtype == torch.float32
        mean = 0.0 if class_cond is None else class_cond.reshape(-1, 1)
        return mean + self.one * (x - mean) / (1 + sigma[:, None] ** 2)


@torch.no_grad()
def test_their_model_as_a_denoiser() -> None:
    D = k_diffusion.adapt(Theirs(), (2,), condition="class_cond", label_dim=4)
    assert (D.sigma_min, D.sigma_max) == (pytest.approx(0.03), pytest.approx(14.6))
    x = noise(3, 2)
    assert torch.equal(D(x, 0.0), x)
    assert (D(x, 2.0) - x / 5).abs().max() < 1e-6
    labels = torch.tensor([3, 0, 1])
    assert (D(x, 1.0, labels) - (labels[:, None] + x) / 2).abs().max() < 1e-6
    # The ODE's solution is mean + k sqrt(1 + sigma^2).
    found = ed.sample(D, x, ed.steps.karras(60, 0.03, 14.6), labels=labels)
    start = x * 14.6 - labels[:, None]
    assert (found - labels[:, None] - start / (1 + 14.6**2) ** 0.5).abs().max() < 2e-3
    assert ed.Sampler(n=4).run(D, 3).x.shape == (3, 2)
    with pytest.raises(ValueError, match="under which name"):
        k_diffusion.adapt(Theirs(), label_dim=4)
    with pytest.raises(ValueError, match="takes none"):
        k_diffusion.adapt(Theirs())(x, 1.0, labels)


@torch.no_grad()
def test_there_and_back() -> None:
    ours = made_denoiser("ddpmpp", (1, 8, 8), 3)
    model = k_diffusion.to_k_diffusion(ours)
    back = k_diffusion.adapt(model, ours.sample_shape, condition="class_cond", label_dim=3)
    x, sigma, labels = noise(3, 1, 8, 8).float(), torch.tensor([0.1, 1.0, 9.0]), torch.tensor([2, 0, 1])
    assert torch.equal(back(x, sigma, labels), ours(x, sigma, labels))
    assert torch.equal(back(x, sigma), ours(x, sigma))
