"""Where a restart goes up and how it comes down, on any schedule, and what solvers are told."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from elucidiff.design import schedules, steps
from elucidiff.design.schedules import Schedule
from elucidiff.sampling import Restart, Step, sample
from elucidiff.sampling.grid import noise_grid
from elucidiff.solvers import IPNDM, Heun

SIGMAS = steps.karras(10, 0.01, 20.0)


def shrink(x: Tensor, sigma: Tensor) -> Tensor:
    return x / (1 + sigma * sigma)


@pytest.mark.parametrize("schedule", [schedules.EDM(), schedules.VP(), schedules.Flow(), schedules.VE()])
def test_the_path_of_noise_levels(schedule: Schedule) -> None:
    restart = Restart(2, 0.5, 2.0, 3, noise_scale=1.1)
    grid = noise_grid(None, schedule, SIGMAS, None, torch.device("cpu"), [restart])
    plain = noise_grid(None, schedule, SIGMAS, None, torch.device("cpu"))
    index = min(range(10), key=lambda i: abs(math.log(float(SIGMAS[i]) / 0.5)))
    low = float(SIGMAS[index])
    assert grid[:index] + grid[index + 6 :] == plain
    down = steps.karras(4, low, 2.0)[:4].tolist()
    for first in (index, index + 3):
        up, *rest = grid[first : first + 3]
        assert (up.sigma, up.sigma_hat) == (pytest.approx(low), pytest.approx(2.0))
        scale, scale_hat = (float(schedule.scale(t)) for t in (up.t, up.t_hat))
        assert up.rescale == pytest.approx(scale_hat / scale)
        assert up.std == pytest.approx(1.1 * scale_hat * (2.0**2 - low**2) ** 0.5)
        assert [level.restarts for level in (up, *rest)] == [True, False, False]
        assert [level.sigma_hat for level in (up, *rest)] == pytest.approx(down[:3])
        assert [level.std for level in rest] == [0, 0]
        assert [level.t_next for level in (up, *rest)] == [rest[0].t, rest[1].t, plain[index].t]


def test_several_restarts_each_at_its_place() -> None:
    grid = noise_grid(
        None,
        schedules.EDM(),
        SIGMAS,
        None,
        torch.device("cpu"),
        [Restart(1, 0.05, 0.3, 2), Restart(2, 1.0, 9.0, 1)],
    )
    ups = [(level.sigma, level.sigma_hat) for level in grid if level.restarts]
    assert [high for _, high in ups] == pytest.approx([9.0, 9.0, 0.3])
    assert len(grid) == 10 + 2 + 2
    for before, after in pairwise(grid):
        assert before.t_next == after.t
    assert grid[-1].t_next == 0


def test_a_multistep_solver_begins_anew_after_a_restart() -> None:
    """The noise is other noise: the first step down is of first order, and the history is used again from there."""
    latents = torch.randn(3, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    record: list[Step] = []
    sample(shrink, latents, SIGMAS, solver=IPNDM(2), restarts=[Restart(1, 0.5, 2.0, 2)], callback=record.append)
    up = next(i for i, step in enumerate(record) if step.t_hat > step.t)
    assert record[-1].nfe == len(record) == 12

    def slope(step: Step) -> Tensor:
        return (step.x_hat - step.denoised) / step.sigma_hat

    for i in (up, up + 1, up + 2):
        step, after = record[i], record[i + 1]
        h = after.t - step.t_hat
        combined = slope(step) if i == up else 1.5 * slope(step) - 0.5 * slope(record[i - 1])
        torch.testing.assert_close(after.x, step.x_hat + h * combined, rtol=1e-12, atol=1e-12)


def test_rounded_levels_are_rounded_on_the_way_down_too() -> None:
    class Rounding:
        def round_sigma(self, sigma: Tensor) -> Tensor:
            return (sigma * 4).round().clamp_min(1) / 4

    grid = noise_grid(
        Rounding(), schedules.EDM(), [8.0, 4.1, 1.1, 0.3, 0.0], None, torch.device("cpu"), [Restart(1, 1.0, 3.1, 2)]
    )
    assert [level.sigma_hat for level in grid] == [8.0, 4.0, 3.0, 1.75, 1.0, 0.25]


@pytest.mark.parametrize("solver", [Heun(), IPNDM(3)])
def test_no_repeats_are_no_restart(solver: object) -> None:
    latents = torch.randn(2, 1, 2, generator=torch.Generator().manual_seed(0))
    plain = sample(shrink, latents, SIGMAS, solver=solver)
    assert torch.equal(sample(shrink, latents, SIGMAS, solver=solver, restarts=[Restart(0, 0.5, 2.0)]), plain)


def test_what_does_not_fit() -> None:
    for restart, message in (
        (Restart(1, 19.0, 30.0), "does not fit into the run, whose nearest noise level is 20, its highest"),
        (Restart(1, 0.5, 0.51), "nearest noise level is 0.[0-9]+: use more steps or another range"),
    ):
        with pytest.raises(ValueError, match=message):
            noise_grid(None, schedules.EDM(), [20.0, 0.52, 0.0], None, torch.device("cpu"), [restart])
    for values, message in (
        ((-1, 0.1, 1.0), "restarts is -1"),
        ((1, 0.1, 1.0, 0), "steps of a restart is 0"),
        ((1, 1.0, 0.1), "restart range is 1.0 to 0.1, but must satisfy 0 < sigma_min < sigma_max"),
        ((1, 0.1, 1.0, 3, 0.0), "noise_scale is 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            Restart(*values)

    class Low:
        def round_sigma(self, sigma: Tensor) -> Tensor:
            return sigma.clamp_max(0.5)

    with pytest.raises(ValueError, match=r"a restart from 0\.5 cannot reach a noise level of 2"):
        noise_grid(Low(), schedules.EDM(), [0.9, 0.5, 0.1, 0.0], None, torch.device("cpu"), [Restart(1, 0.5, 2.0)])
