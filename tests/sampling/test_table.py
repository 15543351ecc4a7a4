"""Table 1 as data."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from elucidiff.sampling import table
from elucidiff.sampling.loop import sample
from elucidiff.sampling.table import EDM, IDDPM, VE, VP, Design
from elucidiff.solvers import Euler, Heun
from tests.golden_files import load


@pytest.mark.parametrize(
    ("design", "golden"),
    [(VP, "vp_00"), (VE, "ve_00"), (IDDPM, "iddpm_00"), (EDM, "edm_00")],
    ids=["vp", "ve", "iddpm", "edm"],
)
def test_a_column_needs_only_the_number_of_steps(design: Design, golden: str) -> None:
    """Its default noise levels, and its schedule's times for them, are those of the reference's defaults."""
    _, tensors = load(f"a_steps/{golden}")
    sigmas = design.steps(18)
    torch.testing.assert_close(sigmas[:-1], tensors["sigma_steps"], rtol=1e-10, atol=0)
    own = {"vp": "vp", "ve": "ve", "iddpm": "linear", "edm": "linear"}[design.name]
    torch.testing.assert_close(design.schedule.time(sigmas), tensors[f"t_steps/{own}"], rtol=1e-9, atol=0)


def test_solvers_and_scalings() -> None:
    assert {name: design.solver for name, design in table.NAMES.items()} == {
        "vp": Euler(),
        "ve": Euler(),
        "iddpm": Euler(),
        "edm": Heun(),
    }
    sigma = 0.75  # s = 1 / sqrt(1 + sigma^2) is 0.8
    scales = {name: float(d.schedule.scale(d.schedule.time(sigma))) for name, d in table.NAMES.items()}
    assert scales == pytest.approx({"vp": 0.8, "ve": 1.0, "iddpm": 1.0, "edm": 1.0})


def test_lambda_times_c_out_squared_is_one_in_every_column() -> None:
    sigma = torch.logspace(-2, 2, 9, dtype=torch.float64)
    for design in table.NAMES.values():
        effective = design.objective.weight(sigma) * design.preconditioning.c_out(sigma).square()
        torch.testing.assert_close(effective, torch.ones_like(sigma))


def test_training_noise_stays_in_the_supported_range() -> None:
    for design in table.NAMES.values():
        noise, p = design.objective.noise, design.preconditioning
        sigma = noise.from_base(noise.base((1000,), torch.Generator().manual_seed(0)))
        assert p.sigma_min <= float(sigma.min()) < float(sigma.max()) <= p.sigma_max


def test_one_cell_can_be_changed() -> None:
    changed = Design("vp", Heun(), VP.schedule, VP.steps, VP.preconditioning, VP.objective)
    assert replace(VP, solver=Heun()) == changed


@pytest.mark.parametrize("design", table.NAMES.values(), ids=list(table.NAMES))
def test_sample_takes_the_objects_of_a_column(design: Design) -> None:
    """On N(0, 1) data the ODE takes x at sigma_0 to x / sqrt(1 + sigma_0^2) at 0: all columns, many steps."""
    latents = torch.randn(4, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigmas = replace(design.steps, n=800).within()
    x = sample(lambda x, sigma: x / (1 + sigma**2), latents, sigmas, solver=design.solver, schedule=design.schedule)
    exact = latents * sigmas[0] / (1 + sigmas[0] ** 2).sqrt()
    torch.testing.assert_close(x, exact, rtol=0.03, atol=1e-3)
