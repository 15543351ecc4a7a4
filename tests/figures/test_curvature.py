"""Solutions of the ODE on a line: closed forms, SciPy, and how much they turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.stats import norm

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.design import schedules
from elucidiff.design.schedules import Schedule
from elucidiff.figures.curvature import paths

STD, TOP = 0.5, 10.0
QUANTILES = norm.ppf((np.arange(8) + 0.5) / 8)


@pytest.mark.parametrize(
    ("schedule", "x", "slope"),
    [
        # x = q sqrt(std^2 + sigma^2) times s, by hand for sigma = t and for sigma = sqrt(t).
        (schedules.EDM(), lambda t: np.sqrt(STD**2 + t**2), lambda t: t / np.sqrt(STD**2 + t**2)),
        (schedules.VE(), lambda t: np.sqrt(STD**2 + t), lambda t: 0.5 / np.sqrt(STD**2 + t)),
    ],
)
def test_one_gaussian_in_closed_form(schedule: Schedule, x: object, slope: object) -> None:
    found = paths(schedule, means=(0.0,), std=STD, sigma_max=TOP, count=8)
    np.testing.assert_allclose(found.x, QUANTILES[:, None] * x(found.time), rtol=1e-9, atol=1e-12)
    assert found.extent == pytest.approx(3 * np.sqrt(STD**2 + TOP**2))
    # The slope changes one way only, so a solution turns by the angle between its ends.
    ends = QUANTILES[:, None] * slope(found.time[[0, -1]])
    angles = np.arctan(ends * (found.time[-1] - found.time[0]) / (2 * found.extent))
    np.testing.assert_allclose(found.turning, np.degrees(abs(angles[:, 1] - angles[:, 0])), atol=1e-6)


def test_unit_gaussian_stands_still_with_its_own_scaling() -> None:
    found = paths(schedules.VP(), means=(0.0,), std=1.0, count=8)
    np.testing.assert_allclose(found.x, np.broadcast_to(QUANTILES[:, None], found.x.shape), atol=1e-9)
    np.testing.assert_allclose(found.turning, 0, atol=1e-4)


@pytest.mark.parametrize("schedule", [schedules.EDM(), schedules.VP(), schedules.VE()])
def test_two_points_as_scipy_solves_them(schedule: Schedule) -> None:
    """With sigma as time and without scaling all schedules have the same solutions."""
    denoiser = GaussianMixture(torch.tensor([[[-1.0]], [[1.0]]]), torch.zeros(2, 1, 1), torch.ones(2))

    def slope(sigma: float, z: np.ndarray) -> np.ndarray:
        state = torch.from_numpy(z).reshape(-1, 1, 1)
        return ((state - denoiser(state, sigma)) / sigma).flatten().numpy()

    found = paths(schedule, sigma_min=0.1, sigma_max=5.0, count=6)
    z = found.x / schedule.scale(torch.from_numpy(found.time)).numpy()
    solved = solve_ivp(slope, (found.sigma[-1], found.sigma[0]), z[:, -1], method="DOP853", rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(z[:, 0], solved.y[:, -1], atol=1e-6)


def test_density_is_one_and_holds_the_shares() -> None:
    found = paths(schedules.VP(), std=0.3, count=4, sigma_max=3.0)
    width = found.heights[1] - found.heights[0]
    np.testing.assert_allclose(found.density.sum(0) * width, 1, atol=0.01)
    last = found.density[:, -1]
    below = [last[found.heights < x].sum() * width for x in found.x[:, -1]]
    np.testing.assert_allclose(below, [0.125, 0.375, 0.625, 0.875], atol=0.01)


def test_edm_turns_least() -> None:
    turns = {
        name: float(paths(schedule).turning.mean())
        for name, schedule in (("vp", schedules.VP()), ("ve", schedules.VE()), ("edm", schedules.EDM()))
    }
    assert turns == {
        "vp": pytest.approx(67.6, abs=0.2),
        "ve": pytest.approx(106.1, abs=0.3),
        "edm": pytest.approx(7.4, abs=0.1),
    }


def test_what_the_schedule_does_not_reach() -> None:
    with pytest.raises(ValueError, match="sigma_min 3"):
        paths(schedules.EDM(), sigma_min=3.0, sigma_max=2.0)
