"""From names and numbers to the parts that sampling is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from elucidiff.design import schedules, steps
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.grid import clamp_range, given_levels
from elucidiff.sampling.restart import Restart
from elucidiff.sampling.solver_names import SOLVERS
from elucidiff.sampling.solvers import Solver

if TYPE_CHECKING:
    from elucidiff.sampling.sampler import Sampler


@dataclass(frozen=True)
class Prepared:
    """A :class:`.Sampler` made ready for one denoiser: the arguments of :func:`~elucidiff.sampling.sample`.

    Attributes:
        sigmas: noise levels (N + 1,), float64.
        solver: takes the steps.
        schedule: sigma(t) and s(t).
        churn: noise to add.
        restarts: parts of the run to repeat.
    """

    sigmas: Tensor
    solver: Solver
    schedule: schedules.Schedule
    churn: Churn
    restarts: tuple[Restart, ...] = ()


def prepare(choices: Sampler, denoiser: Any) -> Prepared:
    """The choices as objects, within the range of noise levels that the denoiser supports.

    Raises:
        ValueError: a value is out of its range, or nothing of the denoiser's range is left.
    """
    low, high = clamp_range(denoiser, *_range(choices))
    return Prepared(
        _levels(choices, low, high, denoiser),
        SOLVERS[choices.solver].build(choices),
        _schedule(choices, low, high),
        Churn(choices.churn, choices.churn_sigma_min, choices.churn_sigma_max, choices.noise_scale),
        _restarts(choices),
    )


def _range(choices: Sampler) -> tuple[float, float]:
    """The range of noise levels before the denoiser's own is respected: each spacing has its customary one."""
    match choices.steps:
        case "vp":
            high, low = schedules.VP().sigma(steps.vp_times(2, choices.epsilon_s)).tolist()
        case "ve":
            low, high = 0.02, 100.0
        case "iddpm":
            low, high = 0.002, 81.0
        case _:
            low, high = 0.002, 80.0
    return (
        low if choices.sigma_min is None else choices.sigma_min,
        high if choices.sigma_max is None else choices.sigma_max,
    )


def _levels(choices: Sampler, low: float, high: float, denoiser: Any) -> Tensor:
    # An adaptive solver takes its range from the steps, which a single one does not have.
    n = max(choices.n, 2) if choices.solver == "rk45" and choices.n > 0 else choices.n
    match choices.steps:
        case "levels":
            return given_levels(choices.levels or (), denoiser)
        case "karras":
            return steps.karras(n, low, high, choices.rho)
        case "vp":
            return steps.vp(n, low, high, choices.epsilon_s)
        case "ve":
            return steps.ve(n, low, high)
        case "iddpm":
            return steps.iddpm(n, low, high, choices.m, choices.c1, choices.c2)
        case _:
            return steps.log_uniform(n, low, high)


def _schedule(choices: Sampler, low: float, high: float) -> schedules.Schedule:
    scaling: dict[str, Any] = {} if choices.scaling is None else {"scaling": choices.scaling}
    match choices.schedule:
        case "edm":
            return schedules.EDM(**scaling)
        case "vp":
            return schedules.VP.fit(low, high, choices.epsilon_s, **scaling)
        case "ve":
            return schedules.VE(**scaling)
        case "flow":
            return schedules.Flow(**scaling)
        case _:
            return schedules.Exponential(**scaling)


def _restarts(choices: Sampler) -> tuple[Restart, ...]:
    """The restart, checked even if it is repeated 0 times."""
    interval = (choices.restart_sigma_min, choices.restart_sigma_max)
    restart = Restart(choices.restarts, *interval, choices.restart_steps, choices.noise_scale)
    return (restart,) if restart.repeats else ()
