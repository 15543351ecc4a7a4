"""The same steps as diffusers' schedulers take, to 1e-5: theirs are float32 in places. Where ours differ, by what.

Their schedulers are given our noise levels, float64 states, and D itself as the network's output. They work in
x = alpha y with alpha = 1 / sqrt(1 + sigma^2), which is our scaling "vp"; their EDM scheduler in y.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from elucidiff.design import schedules, steps
from elucidiff.design.schedules import EDM, Schedule
from elucidiff.sampling import Step, sample
from elucidiff.solvers import DEIS, IPNDM, DPMpp1, DPMpp2M, DPMpp3M, SASolver, Solver, UniPC
from elucidiff.solvers.multistep import Node
from tests.sampling.closed_form import LATENTS, mixture

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")

SIGMAS = steps.karras(9, 0.05, 6.0, rho=4)
VP = EDM(scaling="vp")


def ours(solver: Solver, sigmas: Tensor = SIGMAS, schedule: Schedule = VP, **options: Any) -> list[Tensor]:
    """x at the start of each step, without scaling, and the sample."""
    record: list[Step] = []
    x = sample(mixture(), LATENTS, sigmas, solver=solver, schedule=schedule, callback=record.append, **options)
    return [*(step.x / float(schedule.scale(step.t)) for step in record), x]


def theirs(
    scheduler: Any, sigmas: Tensor = SIGMAS, generator: torch.Generator | None = None, last: bool = True
) -> list[Tensor]:
    """The same from a scheduler of diffusers that is told D; without the ``last`` step it has no sample."""
    count = len(sigmas) - 1
    scheduler.set_timesteps(count)
    scheduler.sigmas = sigmas.clone()
    scheduler.timesteps = torch.arange(count, 0, -1)
    alpha = (1 + sigmas.square()).rsqrt()
    x = LATENTS * sigmas[0] * alpha[0]
    trajectory = []
    for i, t in enumerate(scheduler.timesteps):
        trajectory.append(x / alpha[i])
        if i == count - 1 and not last:
            return trajectory
        extra = {} if generator is None else {"generator": generator}
        x = scheduler.step(mixture()(x / alpha[i], sigmas[i]), t, x, **extra).prev_sample
    return [*trajectory, x / alpha[-1]]


def assert_same(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-5) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b.double(), rtol=tolerance, atol=tolerance)


TOLD_D = {"prediction_type": "sample", "lower_order_final": False}


def test_dpmpp_2m() -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(**TOLD_D, solver_order=2, algorithm_type="dpmsolver++")
    assert_same(ours(DPMpp2M()), theirs(scheduler))


@pytest.mark.parametrize("order", [1, 2])
def test_dpmpp_sde(order: int) -> None:
    """The last step draws noise of level 0 there, and so do we."""
    scheduler = diffusers.DPMSolverMultistepScheduler(**TOLD_D, solver_order=order, algorithm_type="sde-dpmsolver++")
    generator = torch.Generator().manual_seed(3)
    expected = theirs(scheduler, generator=generator)
    generator = torch.Generator().manual_seed(3)
    drawn = ours(
        {1: DPMpp1, 2: DPMpp2M}[order](1.0),
        noise=lambda x, index: torch.randn(x.shape, generator=generator, dtype=torch.float64),
    )
    assert_same(drawn, expected)


def test_dpmpp_3m_has_twice_their_curvature() -> None:
    """Theirs gives the term of second degree half its weight; see DPMpp3M. Nothing else differs."""
    scheduler = diffusers.DPMSolverMultistepScheduler(**TOLD_D, solver_order=3, algorithm_type="dpmsolver++")
    expected = theirs(scheduler)

    class Halved(DPMpp3M):
        def predict(self, places: Any, target: Node, schedule: Schedule) -> Any:
            full = super().predict(places, target, schedule)
            if len(places) < 3:
                return full
            # Without the curvature: D and its slope at the start of the parabola, which the third value bends too.
            h = target.log_snr - places[0].log_snr
            second = [h**2 / math.prod(a.log_snr - b.log_snr for b in places if b is not a) for a in places]
            moment = adams_moment(h)
            weights = [w - moment / 2 * s for w, s in zip(full.weights, second, strict=True)]
            return type(full)(full.keep, weights)

    assert_same(ours(Halved()), expected)
    apart = max(float((a - b).abs().max()) for a, b in zip(ours(DPMpp3M()), expected, strict=True))
    assert apart > 1e-3


def adams_moment(h: float) -> float:
    """int_0^1 h exp(-h (1 - tau)) tau^2 dtau."""
    return 1 - 2 / h * (1 + math.expm1(-h) / h)


def test_edm_dpmpp_2m() -> None:
    """Their EDM scheduler works in y = x, and is told F of the preconditioned D; sigma_data is 0.5."""
    scheduler = diffusers.EDMDPMSolverMultistepScheduler(
        sigma_data=0.5, solver_order=2, lower_order_final=False, final_sigmas_type="zero"
    )
    scheduler.set_timesteps(len(SIGMAS) - 1)
    scheduler.sigmas = SIGMAS.clone()
    scheduler.timesteps = torch.arange(len(SIGMAS) - 1, 0, -1)
    x = LATENTS * SIGMAS[0]
    trajectory = []
    for sigma, t in zip(SIGMAS[:-1], scheduler.timesteps, strict=True):
        trajectory.append(x)
        c_skip, c_out = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / (sigma**2 + 0.25).sqrt()
        output = (mixture()(x, sigma) - c_skip * x) / c_out
        x = scheduler.step(output, t, x).prev_sample
    assert_same(ours(DPMpp2M(), schedule=EDM()), [*trajectory, x])


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_unipc(p: int, variant: str) -> None:
    """But for the last step, which they take by the same formula with log-SNR infinite: no number for p > 1."""
    scheduler = diffusers.UniPCMultistepScheduler(**TOLD_D, solver_order=p, solver_type=variant)
    assert_same(ours(UniPC(p, variant))[:-1], theirs(scheduler, last=False))


def test_unipc_with_lower_order_final() -> None:
    """Which ends as we do. Before that it lowers the order, which we do not; with p = 2 at the last step alone."""
    settings = {**TOLD_D, "lower_order_final": True}
    scheduler = diffusers.UniPCMultistepScheduler(**settings, solver_order=2)
    assert_same(ours(UniPC(2)), theirs(scheduler))


class Logarithmic(Schedule):
    """sigma(t) = exp(t - 10): its time is what diffusers' DEIS interpolates in."""

    def sigma(self, t: Any) -> Tensor:
        return (torch.as_tensor(t, dtype=torch.float64) - 10).exp()

    def variance_dot(self, t: Any) -> Tensor:
        return 2 * self.sigma(t) ** 2

    def time(self, sigma: Any) -> Tensor:
        return torch.as_tensor(sigma, dtype=torch.float64).log() + 10


@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis(order: int) -> None:
    """Theirs has no step to noise level 0: log(0) there."""
    scheduler = diffusers.DEISMultistepScheduler(**TOLD_D, solver_order=order)
    assert_same(ours(DEIS(order), schedule=Logarithmic())[:-1], theirs(scheduler, last=False))


def test_ipndm() -> None:
    """Theirs is told what makes eps of it by beta x + alpha output, with beta = sigma alpha, and keeps x scaled."""
    scheduler = diffusers.IPNDMScheduler()
    scheduler.set_timesteps(len(SIGMAS) - 1)
    alpha = (1 + SIGMAS.square()).rsqrt()
    scheduler.alphas, scheduler.betas = alpha, alpha * SIGMAS
    scheduler.timesteps = torch.arange(len(SIGMAS) - 1, 0, -1)
    x = LATENTS * SIGMAS[0] * alpha[0]
    trajectory = []
    for i, t in enumerate(scheduler.timesteps):
        y = x / alpha[i]
        trajectory.append(y)
        epsilon = (y - mixture()(y, SIGMAS[i])) / SIGMAS[i]
        x = scheduler.step((epsilon - scheduler.betas[i] * x) / alpha[i], t, x).prev_sample
    assert_same(ours(IPNDM(4)), [*trajectory, x / alpha[-1]])


def sa_scheduler(predictor: int, corrector: int, tau: float) -> Any:
    return diffusers.SASolverScheduler(
        **TOLD_D,
        predictor_order=predictor,
        corrector_order=corrector,
        tau_func=lambda t: torch.tensor(tau, dtype=torch.float64),
        algorithm_type="data_prediction",
    )


def unmodified(scheduler: Any) -> Any:
    """The scheduler without its extra term of h^3 in weights of order 2, which the paper has not.

    It shows its order to that test alone, so an integer that denies being 2 there leaves it out.
    """

    class Two(int):
        def __eq__(self, other: object) -> bool:
            return other != 2 and int(self) == other

        __hash__ = int.__hash__

    def patched(method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, *args, order, **kwargs: method(*args, order=Two(order), **kwargs)

    for name in ("stochastic_adams_bashforth_update", "stochastic_adams_moulton_update"):
        setattr(scheduler, name, types.MethodType(patched(getattr(scheduler, name)), scheduler))
    inner = scheduler.get_coefficients_fn
    scheduler.get_coefficients_fn = lambda order, *args: inner(int(order), *args)
    return scheduler


@pytest.mark.parametrize(("predictor", "corrector"), [(1, 1), (2, 2), (3, 3), (3, 4), (2, 1)])
@pytest.mark.parametrize("tau", [0.0, 0.7])
def test_sa_solver(predictor: int, corrector: int, tau: float) -> None:
    """But for the last step, where log-SNR is infinite, and for what they change at order 2."""
    scheduler = unmodified(sa_scheduler(predictor, corrector, tau))
    expected = theirs(scheduler, generator=torch.Generator().manual_seed(3), last=False)
    generator = torch.Generator().manual_seed(3)
    drawn = ours(
        SASolver(predictor, corrector, tau, 0.0, math.inf),
        noise=lambda x, index: torch.randn(x.shape, generator=generator, dtype=torch.float64),
    )
    assert_same(drawn[:-1], expected)


def test_our_schedules_do_not_matter_here() -> None:
    """What holds for their alpha holds for every scaling: the comparisons above are with one of them."""
    for a, b in zip(ours(UniPC(3)), ours(UniPC(3), schedule=schedules.Flow()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
