"""The spacings of home samplers: times and noise levels of diffusers' schedulers, published schedules, flows."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.design.steps import OfTable
from tests.golden_files import load
from tests.interop.foreign import FOREIGN

SCALED = "betas=scaled_linear,beta_start=0.00085,beta_end=0.012"

TIMES = [
    ("eps/ddim_default", "leading:n=10"),
    ("eps/ddpm_default", "leading:n=10"),
    ("eps/ddim_offset_alpha0", "leading:n=10,offset=1"),
    ("text/ddim_cfg5", f"leading:n=10,offset=1,{SCALED}"),
    ("eps/ddim_trailing_noclip", "trailing:n=10"),
    ("eps/ddim_cosine", "trailing:n=10,betas=squaredcos_cap_v2"),
    ("v/ddim_zero_snr", "trailing:n=10,zero_snr=true"),
    ("eps/ddim_linspace_noclip", "linspace:n=12"),
    ("eps/unipc_bh1_sigma_min", "linspace:n=10,extra=1"),
]

LEVELS = [
    ("eps/euler_default", "linspace:n=10,whole=false"),
    ("eps/euler_leading", "leading:n=10,offset=1"),
    ("eps/euler_trailing", "trailing:n=10"),
    ("text/euler_cfg1", f"trailing:n=8,{SCALED}"),
    ("eps/dpmpp2m_trailing", "trailing:n=10"),
    ("eps/unipc_trailing", "trailing:n=10"),
    ("x0/dpmpp2m_linspace", "linspace:n=10,extra=1,betas=squaredcos_cap_v2"),
    ("x0/euler_trailing", "trailing:n=10,betas=squaredcos_cap_v2"),
]


def parsed(text: str) -> OfTable:
    steps = ed.Sampler(steps=text, solver="euler").steps
    assert isinstance(steps, OfTable)
    return steps


def case(name: str) -> dict[str, Tensor]:
    return load(f"n_foreign/diffusers/{name}/case")[1]


@pytest.mark.parametrize(("name", "text"), TIMES)
def test_times_are_those_of_diffusers(name: str, text: str) -> None:
    numbers, steps = case(name), parsed(text)
    assert steps.visited().round().tolist() == numbers["timesteps"].tolist()
    if "alphas_cumprod" in numbers:
        bars = numbers["alphas_cumprod"].double()
        bars = bars[numbers["timesteps"]] if len(bars) == steps.times else bars
        torch.testing.assert_close(steps()[:-1], ((1 - bars) / bars).sqrt(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("name", "text"), LEVELS)
def test_levels_are_those_of_diffusers(name: str, text: str) -> None:
    # Theirs are float32, made of 1 - abar in float32: the lowest are off by 1e-3 of themselves.
    torch.testing.assert_close(parsed(text)(), case(name)["sigmas"].double(), rtol=3e-4, atol=3e-6)


@pytest.mark.parametrize(("name", "shift"), [("euler_shift1", 1.0), ("euler_shift3", 3.0)])
def test_flows_are_those_of_diffusers(name: str, shift: float) -> None:
    config = json.loads((FOREIGN / "diffusers" / "flow" / name / "scheduler_config.json").read_text())
    assert config["shift"] == shift
    # The grid ends at 1/1000, which the scheduler has shifted once before it shifts the whole grid.
    end = shift * 0.001 / (1 + (shift - 1) * 0.001)
    steps = ed.steps.Flow(10, sigma_min=shift * end / (1 - end), sigma_max=math.inf, shift=shift)
    flow = steps() / (1 + steps())
    flow[0] = 1.0
    torch.testing.assert_close(flow, case(f"flow/{name}")["sigmas"].double(), rtol=1e-6, atol=1e-7)


def test_even_steps_of_a_flow() -> None:
    t = torch.linspace(1, 0, 9, dtype=torch.float64)[1:-1]
    levels = ed.steps.Flow(8, sigma_max=math.inf)()
    torch.testing.assert_close(levels[1:-1], t / (1 - t), rtol=1e-14, atol=0)
    assert levels[0] == math.inf
    # Of a model that ends at 9, t begins at 0.9.
    t = 0.9 * (1 - torch.arange(4, dtype=torch.float64) / 4)
    torch.testing.assert_close(ed.steps.Flow(4).within(0.0, 9.0)[:-1], t / (1 - t), rtol=1e-14, atol=0)
    assert float(ed.steps.Flow(4).within(0.4, 9.0)[-2]) == 0.4


def test_levels_stay_within_the_denoiser() -> None:
    assert float(ed.steps.Trailing(10).within(0.0, 14.0)[0]) == 14.0
    assert float(ed.steps.AYS(10, model="svd").within(0.05, 80.0)[-2]) == 0.05


def test_published_schedules_are_those_of_diffusers() -> None:
    published = pytest.importorskip("diffusers.schedulers.scheduling_utils").AysSchedules
    for model, name in (("sd", "StableDiffusion"), ("sdxl", "StableDiffusionXL"), ("svd", "StableDiffusionVideo")):
        assert ed.steps.AYS(10, model=model)().tolist() == published[f"{name}Sigmas"]
    # Theirs are the levels of the model's own table at the published times, in three digits.
    sd = ed.steps.Trailing(betas="scaled_linear", beta_start=0.00085, beta_end=0.012)
    times = published["StableDiffusionTimesteps"]
    np.testing.assert_allclose(sd._table()[times], published["StableDiffusionSigmas"][:-1], rtol=0.01)


def test_other_numbers_of_steps_are_interpolated_in_the_logarithm() -> None:
    levels = ed.steps.AYS(19)()
    assert levels[:-1][::2].tolist() == pytest.approx(ed.steps.AYS(10)()[:-1].tolist(), rel=1e-12)
    assert float(levels[1]) == pytest.approx(math.sqrt(14.615 * 6.475), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("flow:shift=0", "shift"),
        ("trailing:n=2000", "only 1000 times"),
        ("leading:times=1", "times is 1"),
        ("linspace:beta_end=1.5", "lie between 0 and 1"),
        ("ays:model=sd3", "model"),
    ],
)
def test_impossible_settings_are_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ed.Sampler(steps=text)
