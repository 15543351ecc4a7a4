"""What optimised levels are compared with: the best rho of the paper's own spacing."""

from __future__ import annotations

import math

from scipy.optimize import minimize_scalar

from elucidiff.design import steps
from elucidiff.sampling.optimise.end_error import EndError, Run

RHOS = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0, 30.0, 50.0, 100.0)


def best_rho(end_error: EndError, n: int) -> tuple[float, Run]:
    """The rho with the smallest error, and its run.

    The error has several minima in rho, so the best of a dozen values is refined between its neighbours.
    """
    runs = {rho: run_with(end_error, n, rho) for rho in RHOS}
    best = min(RHOS, key=lambda rho: runs[rho].error)
    at = RHOS.index(best)
    between = (math.log(RHOS[max(at - 1, 0)]), math.log(RHOS[min(at + 1, len(RHOS) - 1)]))
    found = minimize_scalar(
        lambda log_rho: run_with(end_error, n, math.exp(log_rho)).error,
        bounds=between,
        method="bounded",
        options={"xatol": 0.02, "maxiter": 12},
    )
    rho = math.exp(found.x)
    run = run_with(end_error, n, rho)
    return (rho, run) if run.error < runs[best].error else (best, runs[best])


def run_with(end_error: EndError, n: int, rho: float) -> Run:
    """A run of ``n`` karras steps over the whole range (Karras et al. 2022, Eq. 5)."""
    exact = end_error.exact
    return end_error(steps.karras(n, exact.sigma_min, exact.sigma_max, rho))
