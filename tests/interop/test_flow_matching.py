"""Fields whose time runs from noise to data."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import elucidiff as ed
from elucidiff.denoisers.adapters import AdaptedDenoiser
from elucidiff.interop import home_sample
from tests.golden_files import load
from tests.interop.foreign import distance, tolerance

CASE, NUMBERS = load("n_foreign/flow_matching/condot")


def field(x: Tensor, t: Tensor) -> Tensor:
    """y = conv3x3(silu(conv3x3([x, cos 3t, sin 3t])))."""
    told = torch.stack([(3 * t).cos(), (3 * t).sin()], dim=1)[:, :, None, None].expand(-1, -1, *x.shape[2:])
    weights = {name.removeprefix("param/"): value.to(x.dtype) for name, value in NUMBERS.items() if "param" in name}
    h = F.conv2d(torch.cat([x, told], dim=1), weights["a.weight"], weights["a.bias"], padding=1)
    return F.conv2d(F.silu(h), weights["b.weight"], weights["b.bias"], padding=1)


def denoiser() -> AdaptedDenoiser:
    return ed.interop.flow_matching.adapt(field)


def test_denoiser() -> None:
    t = NUMBERS["t"].reshape(-1, 1, 1, 1)
    x = NUMBERS["x_t"] / torch.where(t == 0, 1.0, t)  # at t = 0 it is noise alone
    assert distance(denoiser()(x, NUMBERS["sigma"]), NUMBERS["data_estimate"]) < 2e-5
    noise = NUMBERS["x_0"]
    assert distance(denoiser()(noise, math.inf), noise + field(noise, torch.zeros(4))) < 1e-6


@pytest.mark.parametrize("run", CASE["runs"])
def test_its_own_sampler(run: str) -> None:
    told = CASE["runs"][run]
    options = {name: told[name] for name in ("method", "step_size", "time_grid")}
    x = home_sample(denoiser(), NUMBERS[f"{run}/x_init"], **options)
    assert distance(x, NUMBERS[f"{run}/x_final"]) < tolerance(told)
    steps = len(NUMBERS[f"{run}/t"]) - 1
    assert torch.equal(home_sample(denoiser(), NUMBERS[f"{run}/x_init"], steps, **options), x)


def test_number_of_steps_divides_the_way() -> None:
    start = NUMBERS["euler10/x_init"]
    assert distance(home_sample(denoiser(), start, 10), NUMBERS["euler10/x_final"]) < 2e-5
    exact = home_sample(denoiser(), start.double(), 320, method="midpoint")
    errors = [distance(home_sample(denoiser(), start.double(), n, method="heun2"), exact) for n in (20, 40)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)


def test_ours_goes_the_same_way() -> None:
    """Euler on the flow schedule is theirs; from pure noise, which is an infinite level for us."""
    start = NUMBERS["euler10/x_init"]
    t = NUMBERS["euler10/t"]
    x = ed.sample(denoiser(), start, (1 - t) / t, solver="euler", schedule="flow")
    assert distance(x, NUMBERS["euler10/x_final"]) < 2e-5


def test_bad_options() -> None:
    start = NUMBERS["euler10/x_init"]
    for options, message in (
        ({"method": "eular"}, "did you mean 'euler'"),
        ({"time_grid": [0.0]}, "two or more times"),
        ({"time_grid": [0.0, 2.0]}, "two or more times"),
        ({"step_size": -0.1}, "must be positive"),
        ({}, "steps is None"),
        ({"steps": 3, "time_grid": [0, 0.5, 1]}, "make 2 steps, but steps is 3"),
    ):
        with pytest.raises(ValueError, match=message):
            home_sample(denoiser(), start, **options)
