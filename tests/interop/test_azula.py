"""Denoisers of azula as ours, ours as theirs, and their samplers' results against ours from the same noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed

azula = pytest.importorskip("azula")
from azula.denoise import KarrasDenoiser, SimpleDenoiser  # noqa: E402
from azula.noise import CosineSchedule, RectifiedSchedule, VESchedule, VPSchedule  # noqa: E402
from azula.sample import DDIMSampler  # noqa: E402

SHAPE = (2, 5, 5)
SCHEDULES = [VPSchedule(), VESchedule(), CosineSchedule(), RectifiedSchedule()]


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.first(x) + 0.1 * t.reshape(-1, 1, 1, 1)
        return self.last(torch.tanh(h if label is None else h + label[:, None, None, None]))


def noise(batch: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(batch, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("kind", [KarrasDenoiser, SimpleDenoiser])
@torch.no_grad()
def test_same_posterior_mean(schedule: Any, kind: Any) -> None:
    theirs = kind(Backbone(), schedule).double().eval()
    denoiser = ed.interop.azula.adapt(theirs, SHAPE)
    t = torch.tensor([0.05, 0.4, 0.9], dtype=torch.float64)
    alpha, sigma = (each.reshape(-1, 1, 1, 1) for each in schedule(t))
    x = noise() * 2
    found = denoiser(x, (sigma / alpha).flatten())
    torch.testing.assert_close(found, theirs(alpha * x, t).mean, rtol=1e-7, atol=1e-9)
    ends = [
        float(each[1] / each[0]) for each in (schedule(torch.zeros(()).double()), schedule(torch.ones(()).double()))
    ]
    assert (denoiser.sigma_min, denoiser.sigma_max) == pytest.approx(ends)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda each: type(each).__name__)
@torch.no_grad()
def test_their_sampler_s_result_from_the_same_noise(schedule: Any) -> None:
    theirs = KarrasDenoiser(Backbone(), schedule).double().eval()
    sampler = DDIMSampler(theirs, steps=9, silent=True, dtype=torch.float64)
    t = torch.linspace(1, 0, 10, dtype=torch.float64)
    alpha, sigma = schedule(t)
    z = noise()
    at_end = sampler(z * sigma[0])  # which is where sigma is not 0 yet
    expected = theirs(at_end, t[-1]).mean
    levels = torch.cat([sigma / alpha, torch.zeros(1, dtype=torch.float64)])
    denoiser = ed.interop.azula.adapt(theirs, SHAPE)
    found = ed.sample(denoiser, z, levels, solver="euler", batch_size=None)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-6


@torch.no_grad()
def test_ours_in_their_samplers_and_back() -> None:
    torch.manual_seed(1)
    network = ed.networks.UNet.ddpmpp((2, 8, 8), base_channels=4, channel_multipliers=(1,), blocks_per_level=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    ours = ed.Denoiser(network, ed.preconditioning.EDM()).eval()
    theirs = ed.interop.azula.to_azula(ours, VESchedule(0.002, 80.0))
    x = torch.randn(2, 2, 8, 8).double()
    back = ed.interop.azula.adapt(theirs)
    torch.testing.assert_close(back(x, 1.5), ours(x, 1.5).double(), rtol=0, atol=1e-6)
    t = torch.linspace(1, 0, 8, dtype=torch.float64)
    alpha, sigma = theirs.schedule(t)
    end = DDIMSampler(theirs, steps=7, silent=True, dtype=torch.float64)(80 * x)
    expected = theirs(end, t[-1]).mean
    levels = torch.cat([sigma / alpha, torch.zeros(1, dtype=torch.float64)])
    found = ed.sample(ours, x, levels, solver="euler", batch_size=None)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


@torch.no_grad()
def test_conditions() -> None:
    theirs = KarrasDenoiser(Backbone(), VPSchedule()).double().eval()
    denoiser = ed.interop.azula.adapt(theirs, SHAPE, condition="label")
    label = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    t = torch.tensor(0.5, dtype=torch.float64)
    alpha, sigma = theirs.schedule(t)
    expected = theirs(alpha * noise(), t.expand(3), label=label).mean
    torch.testing.assert_close(denoiser(noise(), sigma / alpha, label), expected, rtol=1e-7, atol=1e-9)


def test_what_is_none_of_theirs() -> None:
    with pytest.raises(TypeError, match="has no schedule: give a denoiser of azula"):
        ed.interop.azula.adapt(Backbone())
