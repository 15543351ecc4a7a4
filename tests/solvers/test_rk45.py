"""RK45 against SciPy, per sample, and a sample's independence of its batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from elucidiff.denoisers.ideal import DataPosterior, GaussianMixture
from elucidiff.design import schedules
from elucidiff.design.schedules import Schedule
from elucidiff.sampling import Churn, Step, sample
from elucidiff.sampling.ode import probability_flow
from elucidiff.solvers import RK45

SCHEDULES: dict[str, Schedule] = {
    "edm": schedules.EDM(),
    "vp": schedules.VP(),
    "ve": schedules.VE(),
    "flow": schedules.Flow(),
}


def mixture() -> GaussianMixture:
    generator = torch.Generator().manual_seed(3)
    factors = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64) / 4
    return GaussianMixture(
        torch.randn(3, 1, 4, generator=generator, dtype=torch.float64),
        factors @ factors.mT,
        torch.tensor([0.5, 0.3, 0.2]),
    )


def latents(count: int, size: int = 4) -> Tensor:
    return torch.randn(count, 1, size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def elementwise(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
    """A denoiser whose bits cannot depend on the batch: value by value, by operations that IEEE 754 rounds."""
    sigma = sigma.reshape(-1, 1, 1)
    labels = torch.zeros(1, 1, dtype=x.dtype) if labels is None else labels[:, :1]
    return (x + labels[:, :, None]) / (1 + sigma * sigma) + 0.3 * sigma / (1 + sigma) * x / (1 + x.abs())


@pytest.mark.parametrize("tolerance", [1e-3, 1e-7])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_equals_scipy_for_each_sample(schedule: str, tolerance: float) -> None:
    denoiser, chosen = mixture(), SCHEDULES[schedule]
    start, end = (float(chosen.time(sigma)) for sigma in (20.0, 0.01))
    record: list[Step] = []
    sample(
        denoiser,
        latents(3),
        [20.0, 3.0, 0.01, 0.0],
        solver=RK45(rtol=tolerance, atol=tolerance),
        schedule=chosen,
        callback=record.append,
    )
    first, last = record
    assert (first.t, last.t) == (start, end)

    ode = probability_flow(denoiser, chosen, latents(1), None, None)

    def slope(t: float, values: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(values).reshape(1, 1, 4)
        return ode.velocity(x, float(t), ode.denoise(x, float(t))).flatten().numpy()

    for row in range(3):
        theirs = solve_ivp(slope, (start, end), first.x[row].flatten(), rtol=tolerance, atol=tolerance)
        # The same formulas in another order of rounding: far below the tolerance, and the same accepted steps.
        np.testing.assert_allclose(last.x[row].flatten(), theirs.y[:, -1], rtol=0, atol=tolerance * 1e-3)
        assert first.nfe[row] == theirs.nfev
        assert last.nfe[row] == theirs.nfev + 1


def test_ends_on_the_denoised_image_whatever_the_schedule() -> None:
    denoiser = mixture()
    results = []
    for chosen in SCHEDULES.values():
        record: list[Step] = []
        x = sample(
            denoiser,
            latents(3),
            [20.0, 0.01, 0.0],
            solver=RK45(1e-8, 1e-8),
            schedule=chosen,
            callback=record.append,
        )
        unscaled = record[-1].x / float(chosen.scale(record[-1].t))
        torch.testing.assert_close(x, denoiser(unscaled, 0.01), rtol=1e-12, atol=1e-12)
        results.append(x)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_sample_does_not_depend_on_its_batch(schedule: str) -> None:
    options = {"solver": RK45(1e-5, 1e-5), "schedule": SCHEDULES[schedule]}
    noise, labels = latents(64, size=33), torch.arange(64, dtype=torch.float64)[:, None] / 20
    record: list[Step] = []

    def run(rows: list[int]) -> tuple[Tensor, Tensor]:
        x = sample(
            elementwise, noise[rows], [40.0, 0.02, 0.0], labels=labels[rows], callback=record.append, **options
        )
        return x, record[-1].nfe

    together, nfe = run(list(range(64)))
    assert len(set(nfe.tolist())) > 1  # otherwise the test would not see samples finish at different times
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0)).tolist()
    for rows in ([0], [63], [5, 6, 7, 8, 9, 10, 11], order):
        x, counted = run(rows)
        assert torch.equal(x, together[rows])
        assert torch.equal(counted, nfe[rows])


def test_evaluates_only_samples_that_have_not_arrived() -> None:
    evaluated = 0

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal evaluated
        assert sigma.shape == (len(x),)
        evaluated += len(x)
        return elementwise(x, sigma)

    record: list[Step] = []
    sizes = torch.linspace(0.01, 3, 20)[:, None, None]
    sample(denoiser, latents(20) * sizes, [40.0, 0.02, 0.0], solver=RK45(1e-6, 1e-6), callback=record.append)
    assert evaluated == int(record[-1].nfe.sum()) < 20 * int(record[-1].nfe.max())


def test_works_where_only_one_positive_step_is_asked_for() -> None:
    """A single data point: the ODE is linear in t and the first probe is already exact."""
    point = DataPosterior(torch.full((1, 1, 4), 0.25, dtype=torch.float64))
    x = sample(point, latents(2), [5.0, 0.1, 0.0], solver=RK45(1e-6, 1e-6))
    torch.testing.assert_close(x, torch.full_like(x, 0.25), rtol=0, atol=1e-12)


def test_a_single_level_is_a_single_step() -> None:
    """From the highest level to 0 a step is the denoiser itself."""
    x = sample(mixture(), latents(2), [1.0, 0.0], solver=RK45())
    torch.testing.assert_close(x, mixture()(latents(2), 1.0).double(), rtol=0, atol=1e-12)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"rtol is 0\.0, but must be"):
        RK45(rtol=0.0)
    with pytest.raises(ValueError, match="atol is -1, but must be"):
        RK45(atol=-1)
    with pytest.raises(ValueError, match="rtol is nan"):
        RK45(rtol=math.nan)
    with pytest.raises(ValueError, match="cannot be used with churn"):
        sample(mixture(), latents(1), [1.0, 0.1, 0.0], solver=RK45(), churn=Churn(10))


def test_nan_from_the_denoiser_ends_the_run() -> None:
    def broken(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.where((sigma < 1).reshape(-1, 1, 1), math.nan, elementwise(x, sigma))

    with pytest.raises(ValueError, match="RK45 found no step size"):
        sample(broken, latents(2), [5.0, 0.1, 0.0], solver=RK45())
    # From the very first evaluation on there is not even a size to begin with.
    with pytest.raises(ValueError, match=r"RK45 found no step size to meet .* for sample 0 of the batch"):
        sample(lambda x, sigma: x * math.nan, latents(2), [5.0, 0.1, 0.0], solver=RK45())
