"""All golden sampler runs: final samples, trajectories, noise levels, times, churn and 8-bit images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from elucidiff.design import schedules
from elucidiff.sampling import Churn, Sampler, SeededNoise, Step, parse_seeds, sample, to_uint8
from elucidiff.solvers import RK2
from tests.golden_files import cases, load
from tests.sampling.golden_case import GoldenDenoiser, sampler_of

RUNS = cases("d_samplers", "edm_*") + cases("d_samplers", "abl_*")


def close(actual: Tensor, expected: Tensor, rtol: float, atol: float = 0.0) -> None:
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)


def test_all_runs_are_there() -> None:
    assert len(RUNS) == 8 + 48 + 4


@pytest.mark.parametrize("name", RUNS)
def test_run(name: str) -> None:
    case, tensors = load(name)
    denoiser = GoldenDenoiser(case, tensors)
    sampler = sampler_of(case["settings"])
    plan = sampler.prepare(denoiser)
    steps: list[Step] = []

    x = sample(
        denoiser,
        tensors["latents"],
        plan.sigmas,
        solver=plan.solver,
        schedule=plan.schedule,
        churn=plan.churn,
        noise=lambda _, index: tensors["noise"][index],
        callback=steps.append,
    )

    close(x, tensors["x_final"], rtol=0, atol=1e-7)
    # At steps that are not raised the reference adds noise of sqrt(rounding error), about 1e-7; we add none.
    trajectory = torch.stack([*(step.x for step in steps), x])
    close(trajectory, tensors["trajectory"], rtol=1e-8, atol=2e-7)
    assert torch.equal(to_uint8(x).movedim(1, -1), tensors["image_u8_nhwc"])

    # With sigma = t and alpha > 1 the second evaluation may lie beyond 0; the denoiser is then asked for |sigma|.
    close(denoiser.net_sigmas, tensors["net_sigmas"].abs(), rtol=1e-10)
    assert steps[-1].nfe == case["num_net_calls"] == len(denoiser.asked)

    def column(name: str) -> Tensor:
        return torch.tensor([getattr(step, name) for step in steps], dtype=torch.float64)

    close(column("t"), tensors["t_steps"][:-1], rtol=1e-10)
    close(column("t_hat"), tensors["t_hat"], rtol=1e-10)
    # gamma is not told to callbacks, and a denoiser that rounds changes it after the fact.
    if not case["net"]["rounds"]:
        close(column("sigma_hat") / column("sigma") - 1, tensors["gamma"], rtol=0, atol=1e-9)
    if "sigma_steps" in tensors:
        close(plan.sigmas[:-1], tensors["sigma_steps"], rtol=1e-10)


@pytest.mark.parametrize("name", [name for name in RUNS if load(name)[0]["latents_from_seeds"]])
def test_latents_and_noise_come_from_the_seeds(name: str) -> None:
    _, tensors = load(name)
    noise = SeededNoise(tensors["seeds"].tolist())
    assert torch.equal(noise.latents(tensors["latents"].shape[1:]), tensors["latents"])
    for index, expected in enumerate(tensors.get("noise", torch.empty(0))):
        assert torch.equal(noise(expected, index), expected)


ALPHAS = {"0.50": 1 / 2, "0.67": 2 / 3, "1.00": 1.0, "1.10": 1.1}


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("schedule", ["linear", "ve", "vp"])
def test_alpha_sweep(schedule: str, alpha: str) -> None:
    case, tensors = load("d_samplers/alpha_sweep")
    name = f"{schedule}_alpha{alpha}"
    settings, used = case["cases"][name]["settings"], case["cases"][name]["used"]
    chosen = {
        "linear": schedules.EDM(),
        "ve": schedules.VE(),
        "vp": schedules.VP(used["vp_beta_d"], used["vp_beta_min"], scaling=settings["scaling"]),
    }[schedule]
    steps: list[Step] = []
    x = sample(
        GoldenDenoiser(case, tensors),
        tensors["latents"],
        sampler_of(settings).sigmas(None),
        solver=RK2(ALPHAS[alpha]),
        schedule=chosen,
        churn=Churn(settings["S_churn"], settings["S_min"], settings["S_max"], settings["S_noise"]),
        noise=lambda _, index: tensors["noise"][index],
        callback=steps.append,
    )
    close(x, tensors[f"{name}/x_final"], rtol=0, atol=1e-7)
    close(torch.stack([*(step.x for step in steps), x]), tensors[f"{name}/trajectory"], rtol=1e-8, atol=2e-7)
    assert steps[-1].nfe == case["cases"][name]["num_net_calls"]


def run_of(case: dict[str, Any], tensors: dict[str, Tensor], name: str) -> tuple[GoldenDenoiser, Tensor, list[Step]]:
    """The run called ``name`` of a file with several."""
    denoiser = GoldenDenoiser(case, tensors)
    plan = sampler_of(case["cases"][name]["settings"]).prepare(denoiser)
    steps: list[Step] = []
    x = sample(
        denoiser,
        tensors["latents"],
        plan.sigmas,
        solver=plan.solver,
        schedule=plan.schedule,
        churn=plan.churn,
        noise=lambda _, index: tensors["noise"][index],
        callback=steps.append,
    )
    return denoiser, x, steps


@pytest.mark.parametrize("file", ["alpha_few", "vp_narrow"])
def test_alpha_beyond_1_with_few_steps_and_vp_on_narrow_ranges(file: str) -> None:
    case, tensors = load(f"d_samplers/{file}")
    for name, run in case["cases"].items():
        denoiser, x, steps = run_of(case, tensors, name)
        close(x, tensors[f"{name}/x_final"], rtol=0, atol=1e-7)
        close(denoiser.net_sigmas, tensors[f"{name}/net_sigmas"].abs(), rtol=1e-10)
        assert steps[-1].nfe == run["num_net_calls"]
        if f"{name}/trajectory" in tensors:
            close(torch.stack([*(step.x for step in steps), x]), tensors[f"{name}/trajectory"], rtol=1e-8, atol=2e-7)


def test_what_alpha_beyond_1_asks_for_below_zero() -> None:
    """With sigma = t a step goes on through 0, though never the denoiser: it is asked for the size of sigma."""
    case, tensors = load("d_samplers/alpha_few")
    for name, run in case["cases"].items():
        asked = tensors[f"{name}/net_sigmas"]
        assert int((asked < 0).sum()) == run["calls_below_zero"]
    denoiser, _, _ = run_of(case, tensors, "alpha1.50_n05_default")
    assert float(denoiser.net_sigmas.min()) > 0


def test_churn_that_leaves_a_narrow_vp_range_is_refused() -> None:
    """The reference returns NaN there: the raised level is above the largest that the fitted schedule has."""
    case, _ = load("d_samplers/vp_narrow")
    assert len(case["not_finite_in_the_reference"]) == 2
    with pytest.raises(ValueError, match=r"VP does not reach the noise level 2\.8\d+, to which the churn raises"):
        Sampler(
            "karras:n=10,sigma_min=0.5,sigma_max=2.0",
            "vp_fitted:epsilon_s=0.05",
            churn="6,sigma_min=0.03,sigma_max=40",
        )


@pytest.mark.parametrize("lowest", [1e-12, 1e-13, 1e-20])
def test_a_fitted_vp_range_that_float64_cannot_resolve_names_the_level_that_was_chosen(lowest: float) -> None:
    """ln(1 + sigma^2) is a difference of numbers of about 1e-5, so levels of 1e-11 have no time of their own."""
    says = rf"VP does not reach the noise level {lowest:g}: .* \(\S+ is in its reach\)"
    with pytest.raises(ValueError, match=says):
        Sampler(f"karras:n=40,sigma_min={lowest}", "vp_fitted")


def test_vp_steps_of_a_narrow_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"vp steps from sigma_max = 2 to sigma_min = 0\.5 with epsilon_s = 0\.001"):
        Sampler(steps="vp:n=10,sigma_min=0.5,sigma_max=2.0", schedule="vp_fitted").run(
            GoldenDenoiser(*load("d_samplers/vp_narrow")), [0]
        )


def test_seeds() -> None:
    case, tensors = load("d_samplers/seeds")
    seeds = tensors["seeds"].tolist()
    assert seeds == case["seeds"]

    noise = SeededNoise(seeds)
    assert torch.equal(noise.latents((3, 8, 8)), tensors["latents_3x8x8"])
    assert torch.equal(noise.labels(10), tensors["class_idx_of_10"])
    for step in range(2):
        expected = tensors[f"noise_f64_step{step}"]
        assert torch.equal(noise(expected, step), expected)

    noise = SeededNoise(seeds)
    assert torch.equal(noise.latents((1, 16, 16)), tensors["latents_1x16x16"])
    assert torch.equal(noise.labels(1000), tensors["class_idx_of_1000"])
    assert torch.equal(SeededNoise(seeds).latents((1, 2, 2)), tensors["latents_tiny_1x2x2"])
    first = tensors["noise_f64_first"]
    assert torch.equal(SeededNoise(seeds)(first, 0), first)


def test_seed_lists() -> None:
    case, _ = load("d_samplers/seeds")
    assert {text: list(parse_seeds(text)) for text in case["parse_int_list"]} == case["parse_int_list"]


def test_quantize() -> None:
    _, tensors = load("d_samplers/quantize")
    assert torch.equal(to_uint8(tensors["x"]), tensors["u8"])
