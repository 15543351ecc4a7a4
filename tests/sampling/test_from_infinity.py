"""Runs that begin in pure noise: rectified flow from t = 1, and tables with zero terminal SNR."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.denoisers.adapters import AdaptedDenoiser, ContinuousTime, DiscreteTime
from elucidiff.sampling import SeededNoise
from elucidiff.sampling.checks import NotFiniteError
from tests.denoisers.test_ends_of_sigma import zero_snr

FLOW = ed.schedules.Flow()
STD = 0.5


def velocity(x: Tensor, t: Tensor) -> Tensor:
    """E[eps - x0 | x_t] for x_t = (1 - t) x0 + t eps with x0 of N(0, STD^2): linear in x_t."""
    t = t.reshape(-1, *[1] * (x.ndim - 1))
    return x * (t - (1 - t) * STD**2) / ((1 - t) ** 2 * STD**2 + t**2)


def network() -> AdaptedDenoiser:
    return AdaptedDenoiser(velocity, "flow", ContinuousTime(FLOW), dtype=torch.float64)


def noise() -> Tensor:
    return SeededNoise(range(3)).latents((1, 2, 2)).double()


class Plain(torch.nn.Module):
    """A network that a denoiser takes."""

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        """F = x."""
        return x


def levels(n: int) -> Tensor:
    return FLOW.sigma(torch.linspace(1, 0, n + 1, dtype=torch.float64))


def test_levels() -> None:
    assert levels(4).tolist() == pytest.approx([math.inf, 3, 1, 1 / 3, 0])


def test_euler_and_heun_on_the_flow_schedule_are_those_of_the_velocity() -> None:
    """x' = x + h v(x, t), and Heun's mean of two velocities save at the last step, from x = z at t = 1."""
    times = torch.linspace(1, 0, 6, dtype=torch.float64)
    x = y = noise()
    for t, after in itertools.pairwise(times):
        x = x + (after - t) * velocity(x, t)
        d = velocity(y, t)
        moved = y + (after - t) * d
        y = moved if after == 0 else y + (after - t) / 2 * (d + velocity(moved, after))
    common = {"schedule": FLOW, "latents": noise(), "sigmas": levels(5)}
    torch.testing.assert_close(ed.sample(network(), solver="euler", **common), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(ed.sample(network(), solver="heun", **common), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("solver", "schedule", "order"),
    [
        ("heun", "flow", 2), ("heun", "edm", 1.5), ("euler", "vp", 0.9), ("dpmpp_2m", "edm", 1.3),
        ("unipc", "flow", 1.6), ("deis", "exponential", 2), ("ipndm", "edm", 1.6),
    ],
)  # fmt: skip
def test_all_come_to_the_exact_solution(solver: str, schedule: str, order: float) -> None:
    """From z at infinity the exact solution is STD z."""
    errors = [
        float(
            (ed.sample(network(), noise(), levels(n), solver=solver, schedule=schedule) - STD * noise()).abs().max()
        )
        for n in (20, 80)
    ]
    assert errors[1] < 0.01
    assert math.log(errors[0] / errors[1], 4) > order - 0.15


def test_a_one_step_solver_in_noise_levels_begins_after_the_first_step() -> None:
    """It divides by s, which is 0 at t = 1 of flow; DDIM's first step is taken for it, as Euler's method takes it."""

    class InNoiseLevels(ed.solvers.Solver):
        def step(
            self, ode: ed.solvers.ODE, x: Tensor, t: float, t_next: float, state: None = None
        ) -> ed.solvers.StepResult:
            ratio = float(ode.schedule.sigma(t_next)) / float(ode.schedule.sigma(t))
            denoised = ode.denoise(x, t)
            y = denoised + ratio * (x / float(ode.schedule.scale(t)) - denoised)
            return ed.solvers.StepResult(float(ode.schedule.scale(t_next)) * y, denoised)

    for schedule in ("flow", "edm", "vp"):
        x = ed.sample(network(), noise(), levels(5), solver=InNoiseLevels(), schedule=schedule)
        euler = ed.sample(network(), noise(), levels(5), solver="euler", schedule="flow")
        torch.testing.assert_close(x, euler, rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", ["flow", "edm", "vp"])
def test_rk45_begins_there_too(schedule: str) -> None:
    x = ed.sample(network(), noise(), levels(1000), solver="rk45", schedule=schedule)
    torch.testing.assert_close(x, STD * noise(), rtol=0, atol=1e-3)


def test_churn_and_callbacks_see_the_noise() -> None:
    steps: list[ed.sampling.Step] = []
    x = ed.sample(network(), noise(), levels(9), churn=ed.Churn(3), callback=steps.append)
    assert bool(x.isfinite().all())
    assert (steps[0].sigma, steps[0].sigma_hat) == (math.inf, math.inf)
    assert torch.equal(steps[0].x, noise())
    assert steps[1].sigma_hat > steps[1].sigma


def test_a_v_network_of_a_table_with_zero_terminal_snr() -> None:
    """v = s (eps - sigma x0) for x0 of N(0, STD^2); DDIM from the last index on, step by step."""
    table = zero_snr()
    root = table.sqrt()

    def v(x: Tensor, index: Tensor) -> Tensor:
        s = root[index].reshape(-1, 1, 1, 1)
        spread = (1 - table[index]).sqrt().reshape(-1, 1, 1, 1)
        return x * s * spread * (1 - STD**2) / (s**2 * STD**2 + spread**2)

    denoiser = AdaptedDenoiser(v, "v", DiscreteTime(table), dtype=torch.float64)
    indices = [999, 700, 400, 150, 20]
    sigmas = [*denoiser.time.sigmas[indices].tolist(), 0.0]
    assert sigmas[0] == math.inf
    x = z = noise()
    for index, after in zip(indices, [*indices[1:], None], strict=True):
        s, spread = root[index], (1 - table[index]).sqrt()
        output = v(x, torch.tensor([index]))
        clean, eps = s * x - spread * output, spread * x + s * output
        x = clean if after is None else root[after] * clean + (1 - table[after]).sqrt() * eps
    ours = ed.sample(denoiser, z, sigmas, solver="euler")
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-9)


def test_where_it_cannot_begin_there() -> None:
    plain = ed.Denoiser(Plain(), ed.preconditioning.VP())
    with pytest.raises(
        ValueError, match="sigmas begins at infinity, but the denoiser supports noise levels up to 152"
    ):
        ed.sample(plain, noise(), levels(4))
    with pytest.raises(NotFiniteError, match="at step 1, from noise level inf"):
        ed.sample(lambda x, sigma: x * sigma, noise(), levels(4))
