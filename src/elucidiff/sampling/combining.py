"""Which solvers go with added noise: churn and restarts. Errors are found before the work starts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from elucidiff.sampling.churn import Churn
from elucidiff.sampling.grid import Level
from elucidiff.sampling.restart import Restart
from elucidiff.solvers import Solver


def check_combination(solver: Solver, churn: Churn | None, restarts: Sequence[Restart]) -> None:
    """Raise ValueError if ``solver`` does not go with churn or restarts, on whatever steps.

    A one-step solver takes any noise. Restarts go with all solvers of fixed steps, which begin anew after each.
    """
    restarts = [restart for restart in restarts if restart.repeats]
    churned = churn is not None and churn.amount > 0
    name = type(solver).__name__
    if solver.adaptive and (churned or restarts):
        raise ValueError(
            f"{name} chooses its own steps, so it cannot be used with {'churn' if churned else 'restarts'}"
        )
    if churned and restarts:
        raise ValueError("churn and restarts both add noise to the run: choose one of them")
    if churned and solver.stochastic:
        raise ValueError(f"{name} adds noise itself, so it cannot be used with churn: choose one of them")
    if churned and solver.corrects:
        raise ValueError(
            f"{name} corrects the end of each step with an evaluation there, which churn would move: use it without "
            "churn, or another solver"
        )


def check_history(solver: Solver, grid: Sequence[Level]) -> None:
    """Raise ValueError if churn takes back too much for a multistep ``solver`` to extrapolate from what it knows.

    Its values were evaluated at the raised levels, before the noise was added that is there now. That makes all
    methods first-order, and one value that lies little above the level where a step now starts tells next to nothing
    of the slope, while the difference in noise is multiplied by the length of the step: on Gaussian data errors
    exceed Euler's, or grow without bound. So at most half of the way, in log(sigma), from the evaluation before down
    to this step may be taken back.
    """
    if not solver.multistep or solver.order == 1:
        return
    for index, (before, level) in enumerate(pairwise(grid), start=1):
        if level.spread > 0 and not level.restarts and level.sigma_hat**2 > level.sigma * before.sigma_hat:
            raise ValueError(
                f"churn raises the noise of step {index} from {level.sigma:g} to {level.sigma_hat:g}, which takes "
                f"back most of the way from {before.sigma_hat:g}, where {type(solver).__name__} knows the denoiser: "
                "use less churn or a one-step solver such as Heun"
            )
