"""Ways to sample, one configuration a row: Karras et al. 2022, Tables 3 to 5, and the sweep of alpha in App. D.2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from elucidiff.denoisers.base import DenoiserLike, DenoiserModule
from elucidiff.design.steps import Karras
from elucidiff.design.values import check_range
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.loop import count_evaluations
from elucidiff.sampling.optimise.candidate import exact_range, steps_within
from elucidiff.sampling.sampler import Sampler
from elucidiff.solvers import RK2

Method = Literal["sampler", "sde", "predictor-corrector"]


@dataclass(frozen=True)
class SamplingConfiguration:
    """One row of a table about sampling.

    Attributes:
        name: in tables, files and on the command line.
        what: what it is, in a few words.
        sampler: its choices. How many steps it takes is settled by a budget of evaluations.
        method: who takes the steps: the sampling loop with a solver; or, as baselines from before the paper, the
            reverse SDE of Song et al. 2021 by Euler and Maruyama, or their predictor and corrector, on the steps and
            the schedule of ``sampler``.
        guide: the worse model of autoguidance; see :meth:`.Sampler.run`.
        settled: whether ``sampler`` has its number of steps already, so that it has one cost and no budget.
    """

    name: str
    what: str
    sampler: Sampler
    method: Method = "sampler"
    guide: DenoiserLike | None = None
    settled: bool = False

    @property
    def deterministic(self) -> bool:
        """True if it follows the ODE, so that there is an exact solution to compare with."""
        return self.method == "sampler" and self.sampler.deterministic

    def guided(self, denoiser: DenoiserLike) -> DenoiserModule:
        """The denoiser that it samples from: ``denoiser``, under guidance if it asks for that.

        Raises:
            ValueError: the denoiser cannot be guided so.
        """
        return self.sampler.guided(denoiser, self.guide)

    def cost(self, denoiser: DenoiserLike) -> int:
        """Network evaluations per sample that it takes from ``denoiser``, if its sampler takes the steps."""
        target = self.guided(denoiser)
        return count_evaluations(self.sampler.prepare(target), target)

    def within(self, budget: int, denoiser: DenoiserLike) -> SamplingConfiguration:
        """The same with as many steps as ``budget`` network evaluations per sample pay for.

        Raises:
            ValueError: they do not pay for two steps, ``denoiser`` supports none of the noise levels, or so many
                steps are impossible with the other choices.
        """
        if self.method == "sampler":
            target = self.guided(denoiser)
            prepared = self.sampler.prepare(target)
            low, high = exact_range(self.sampler, target)
            n = steps_within(budget, prepared.solver, prepared.schedule, target, low, high)
            # They were counted for karras steps and without restarts, but guidance may act at more of the others.
            while n > 1 and self._in_steps(n).cost(denoiser) > budget:
                n -= 1
        else:
            # A predictor and a corrector are evaluated at each step, save that the last one is not corrected.
            n = budget if self.method == "sde" else (budget + 1) // 2
        if n < 2:
            raise ValueError(f"a budget of {budget} evaluations is too small for {self.name}: choose 5 or more")
        return self._in_steps(n)

    def _in_steps(self, n: int) -> SamplingConfiguration:
        return replace(self, sampler=self.sampler.with_settings({"steps.n": n}))


def sampling_configurations(
    sigma_min: float | None = None, sigma_max: float | None = None
) -> tuple[SamplingConfiguration, ...]:
    """Deterministic sampling, Table 3: from each original sampler in two strides to the paper's.

    Theirs are the columns of Table 1. First the solver and the steps are replaced, while the solver still follows the
    original sigma(t) and s(t); then these are, which leads all to the last row. DDIM has sigma = t and s = 1 already.

    Args:
        sigma_min: lowest noise level of the paper's steps (0.002); the originals have ranges of their own.
        sigma_max: highest noise level of the paper's steps (80).
    """
    ours = _ours(sigma_min, sigma_max)
    vp, ve, ddim = (Sampler.from_table(name) for name in ("vp", "ve", "iddpm"))
    return (
        SamplingConfiguration("vp", "Song et al.'s VP: Euler, their steps and schedule", vp),
        SamplingConfiguration(
            "vp-heun", "VP schedule, with Heun and our steps", ours.with_settings({"schedule": "vp_fitted"})
        ),
        SamplingConfiguration("ve", "Song et al.'s VE: Euler, their steps and schedule", ve),
        SamplingConfiguration(
            "ve-heun", "VE schedule, with Heun and our steps", ours.with_settings({"schedule": "ve"})
        ),
        SamplingConfiguration("ddim", "DDIM: Euler, the iDDPM's steps, sigma = t, s = 1", ddim),
        SamplingConfiguration(
            "edm-euler", "our steps, sigma = t, s = 1, but Euler", ours.with_settings({"solver": "euler"})
        ),
        SamplingConfiguration("edm", "Heun, our steps, sigma = t, s = 1", ours),
    )


def churn_configurations(
    churn: Churn, sigma_min: float | None = None, sigma_max: float | None = None
) -> tuple[SamplingConfiguration, ...]:
    """Stochastic sampling, Tables 4 and 5: what each setting of Algorithm 2 adds, beside the original samplers.

    Args:
        churn: S_churn, S_tmin, S_tmax and S_noise, as a search found them for the model.
        sigma_min: lowest noise level of the paper's steps (0.002); the originals have ranges of their own.
        sigma_max: highest noise level of the paper's steps (80).

    Raises:
        ValueError: a setting changes nothing, so that two rows would be the same.
    """
    if churn.amount == 0:
        raise ValueError("S_churn is 0, which is no stochastic sampling: choose a positive amount")
    if churn.noise_scale == 1:
        raise ValueError("S_noise is 1, so it cannot be left out: choose another, such as 1.007")
    if churn.sigma_min == 0 and churn.sigma_max == math.inf:
        raise ValueError("S_tmin is 0 and S_tmax is infinite, so they cannot be left out: choose a range")
    ours = _ours(sigma_min, sigma_max)
    alone = replace(ours, churn=Churn(churn.amount))
    within = replace(ours, churn=replace(churn, noise_scale=1.0))
    scaled = replace(ours, churn=Churn(churn.amount, noise_scale=churn.noise_scale))
    amount, span = f"S_churn {churn.amount:g}", f"S_tmin {churn.sigma_min:g}, S_tmax {churn.sigma_max:g}"
    noise = f"S_noise {churn.noise_scale:g}"
    return (
        SamplingConfiguration("deterministic", "Heun, our steps, sigma = t, s = 1", ours),
        SamplingConfiguration("churn", amount, alone),
        SamplingConfiguration("churn-range", f"{amount}, {span}", within),
        SamplingConfiguration("churn-noise", f"{amount}, {noise}", scaled),
        SamplingConfiguration("all", f"{amount}, {span}, {noise}", replace(ours, churn=churn)),
        SamplingConfiguration("vp-sde", "Song et al.'s reverse VP SDE", Sampler.from_table("vp"), "sde"),
        SamplingConfiguration(
            "ve-pc", "Song et al.'s VE predictor-corrector", Sampler.from_table("ve"), "predictor-corrector"
        ),
    )


def alpha_configurations(
    alphas: Sequence[float], sigma_min: float | None = None, sigma_max: float | None = None
) -> tuple[SamplingConfiguration, ...]:
    """The second-order methods of Algorithm 3 by where their second evaluation lies, App. D.2.

    Args:
        alphas: 1/2 is the midpoint method, 2/3 Ralston's, 1 Heun's; 1.1 came out best in the paper's search.
        sigma_min: lowest noise level (0.002).
        sigma_max: highest noise level (80).

    Raises:
        ValueError: an alpha is not positive and finite, is there twice, or there are none.
    """
    if not alphas or len(set(alphas)) < len(alphas):
        raise ValueError(f"alphas are {tuple(alphas)}: choose some, each once")
    names = {0.5: "the midpoint method", 1.0: "Heun's method", 1.1: "second evaluation at 1.1, the paper's best"}
    return tuple(
        SamplingConfiguration(
            f"alpha-{alpha:g}",
            names.get(alpha, f"second evaluation at {alpha:g} of the step"),
            replace(_ours(sigma_min, sigma_max), solver=RK2(alpha)),
        )
        for alpha in alphas
    )


def _ours(sigma_min: float | None, sigma_max: float | None) -> Sampler:
    if sigma_min is not None or sigma_max is not None:
        check_range(0.002 if sigma_min is None else sigma_min, 80.0 if sigma_max is None else sigma_max)
    return Sampler(Karras(sigma_min=sigma_min, sigma_max=sigma_max))
