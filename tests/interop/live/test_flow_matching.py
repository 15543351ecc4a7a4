"""facebookresearch's flow_matching itself: its solver against ours on one field, and its path's own field."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.interop import flow_matching, home_sample
from tests.interop.live.noise import distance

solvers = pytest.importorskip("flow_matching.solver", reason="flow_matching is not installed (the extra dev has it)")
SHAPE = (2, 8, 8)


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.a, self.b = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, **_: Any) -> Tensor:
        told = t.reshape(-1, 1, 1, 1).expand(len(x), 1, *x.shape[2:])
        return self.b(nn.functional.silu(self.a(torch.cat([x, torch.cos(3 * told), torch.sin(3 * told)], 1))))


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun2"])
@torch.no_grad()
def test_its_solver(method: str) -> None:
    field = Field()
    ours = flow_matching.adapt(field, sample_shape=SHAPE)
    z = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    expected = solvers.ODESolver(velocity_model=field).sample(z, step_size=0.1, method=method)
    assert distance(home_sample(ours, z, 10, method=method), expected) < 1e-5
    if method == "euler":
        times = torch.linspace(0, 1, 11, dtype=torch.float64)
        found = ed.sample(ours, z, (1 - times) / times, solver="euler", schedule="flow")
        assert distance(found, expected) < 1e-5


@torch.no_grad()
def test_its_path_is_the_one_that_is_adapted() -> None:
    """On the library's own path, the true velocity makes D the data."""
    path = pytest.importorskip("flow_matching.path").AffineProbPath(
        scheduler=pytest.importorskip("flow_matching.path.scheduler").CondOTScheduler()
    )
    generator = torch.Generator().manual_seed(1)
    noise, data = (torch.randn(4, *SHAPE, generator=generator) for _ in range(2))
    t = torch.tensor([0.1, 0.35, 0.6, 0.95])
    on = path.sample(t=t, x_0=noise, x_1=data)
    ours = flow_matching.adapt(lambda x, t: on.dx_t, sample_shape=SHAPE)
    found = ours(on.x_t / t.reshape(-1, 1, 1, 1), (1 - t) / t)
    assert distance(found, data) < 1e-5
