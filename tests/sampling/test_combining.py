"""Multistep solvers under churn: what they remember, how it is judged, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from elucidiff.design import schedules, steps
from elucidiff.sampling import Churn, Restart, Step, sample
from elucidiff.sampling.checks import check_combination, check_history
from elucidiff.sampling.grid import noise_grid
from elucidiff.solvers import (
    DEIS,
    ERSDE,
    IPNDM,
    RK45,
    DPMpp1,
    DPMpp2M,
    DPMpp3M,
    Heun,
    SASolver,
    Solver,
    UniPC,
)
from tests.solvers.test_noise import error


def test_the_history_is_of_the_raised_levels() -> None:
    """y' = y + (t' - t_hat) (1.5 eps - 0.5 eps_1), with eps at (x_hat, t_hat) now and a step before."""
    latents = torch.randn(3, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    record: list[Step] = []
    sample(
        lambda x, sigma: x / (1 + sigma**2),
        latents,
        steps.karras(12, 0.1, 20.0),
        solver=IPNDM(2),
        churn=Churn(1.0),
        callback=record.append,
    )
    for before, step, after in zip(record, record[1:], record[2:], strict=False):
        now, then = ((s.x_hat - s.denoised) / s.sigma_hat for s in (step, before))
        assert step.t_hat > step.t
        torch.testing.assert_close(after.x, step.x_hat + (after.t - step.t_hat) * (1.5 * now - 0.5 * then))


@pytest.mark.parametrize("solver", [DPMpp2M(), DPMpp3M(), DEIS(3), IPNDM(3)])
def test_the_distribution_is_met_with_more_steps(solver: Solver) -> None:
    """Of Gaussian data, exactly, but with the first power of the step only: what is known has other noise in it."""
    errors = [error(solver, n, churn=Churn(2.0)) for n in (160, 320)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.15)
    assert errors[1] < 0.02


def grid(n: int, amount: float, low: float = 0.0) -> list[object]:
    churn = Churn(amount, sigma_min=low)
    return noise_grid(None, schedules.EDM(), steps.log_uniform(n, 0.01, 10.0), churn, torch.device("cpu"))


def test_half_of_the_way_may_be_taken_back() -> None:
    """On steps of equal length l in log(sigma) churn may raise by as much, or by half where it sets in."""
    n = 50
    length = math.log(1000) / (n - 1)
    check_history(DPMpp2M(), grid(n, 0.999 * n * math.expm1(length)))
    with pytest.raises(ValueError, match=r"churn raises the noise of step 1 from 8\.68.* where DPMpp2M knows"):
        check_history(DPMpp2M(), grid(n, 1.001 * n * math.expm1(length)))
    # Churn begins only below 1: the evaluation before was not raised.
    falling = Churn(1.001 * n * math.expm1(length / 2), sigma_max=1.0)
    levels = noise_grid(None, schedules.EDM(), steps.log_uniform(n, 0.01, 10.0), falling, torch.device("cpu"))
    with pytest.raises(ValueError, match="churn raises the noise of step 17"):
        check_history(DPMpp2M(), levels)
    # One-step solvers take any.
    for solver in (Heun(), DPMpp1(), DEIS(1)):
        check_history(solver, grid(n, 1000.0))


def test_refused_before_any_evaluation() -> None:
    def never(x: Tensor, sigma: Tensor) -> Tensor:
        raise AssertionError("evaluated")

    latents, levels = torch.ones(1, 1, 1), steps.karras(100)
    for options, message in (
        ({"solver": IPNDM(), "churn": Churn(100.0)}, "use less churn or a one-step solver such as Heun"),
        ({"solver": UniPC(), "churn": Churn(1.0)}, "UniPC corrects the end of each step"),
        ({"solver": SASolver(tau=0), "churn": Churn(1.0)}, "SASolver corrects the end of each step"),
        ({"solver": SASolver(), "churn": Churn(1.0)}, "SASolver adds noise itself"),
        ({"solver": DPMpp2M(1.0), "churn": Churn(1.0)}, "DPMpp2M adds noise itself"),
        ({"solver": ERSDE(), "churn": Churn(1.0)}, "ERSDE adds noise itself"),
        ({"solver": RK45(), "churn": Churn(1.0)}, "RK45 chooses its own steps, so it cannot be used with churn"),
        ({"solver": RK45(), "restarts": [Restart(1, 0.1, 1.0)]}, "RK45 .* cannot be used with restarts"),
        ({"churn": Churn(1.0), "restarts": [Restart(1, 0.1, 1.0)]}, "churn and restarts both add noise"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            sample(never, latents, levels, **options)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("solver", [RK45(), UniPC(), DPMpp2M(1.0)])
def test_none_of_either_is_always_right(solver: Solver) -> None:
    check_combination(solver, Churn(0.0), [Restart(0, 0.1, 1.0)])
    check_combination(solver, None, ())
