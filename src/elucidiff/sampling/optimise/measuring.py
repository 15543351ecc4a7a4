"""How far a sampler's results are from the exact ODE solution, and what the paper's spacing would reach."""

from __future__ import annotations

from dataclasses import dataclass

from elucidiff.sampling.optimise.candidate import best_rho
from elucidiff.sampling.optimise.choices import check_deterministic
from elucidiff.sampling.optimise.end_error import EndError
from elucidiff.sampling.optimise.exact import ExactSolutions
from elucidiff.sampling.sampler import Sampler


@dataclass(frozen=True)
class Measurement:
    """Errors are root mean squares over all values of all samples, in units of the data.

    Attributes:
        nfe: network evaluations per sample, counted.
        error: distance to the exact ODE solution.
        baseline_error: the same of as many karras steps with the same solver, and the rho that is best for these
            very seeds.
        baseline_rho: that rho.
    """

    nfe: int
    error: float
    baseline_error: float
    baseline_rho: float

    @property
    def cut(self) -> float:
        """By how much the error is smaller than that of the best karras steps: 0.3 is 30%, negative is worse."""
        return 1 - self.error / self.baseline_error


def measure(exact: ExactSolutions, sampler: Sampler) -> Measurement:
    """Measure a sampler, guidance aside, which is that of the exact solutions.

    Raises:
        ValueError: the sampler is adaptive or draws noise, its levels are outside the denoiser's range, or the
            denoiser gave values that are not finite.
    """
    check_deterministic(sampler)
    prepared = sampler.prepare(exact.denoiser)
    end_error = EndError(exact, prepared.solver, prepared.schedule)
    run = end_error(prepared.sigmas)
    rho, baseline = best_rho(end_error, len(prepared.sigmas) - 1)
    return Measurement(run.nfe, run.error, baseline.error, rho)
