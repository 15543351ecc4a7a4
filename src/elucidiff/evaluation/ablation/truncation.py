"""How far deterministic samplers are from the exact solutions of the ODE that they solve."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from elucidiff.evaluation.ablation.sampling import SamplingConfiguration
from elucidiff.sampling.optimise.end_error import EndError, Run
from elucidiff.sampling.optimise.exact import ExactSolutions, solve_exactly


class TruncationErrors:
    """Root mean square distances to the exact solution from the same latents, in units of the data.

    A sampler is compared with the solution between its own highest and lowest noise level. So what is measured is how
    well it solves its ODE; what another range does to the samples is up to figures of quality.

    Args:
        denoiser: D.
        batch_size: samples in one call of it.
    """

    def __init__(self, denoiser: Any, batch_size: int = 16) -> None:
        self._denoiser, self._batch_size = denoiser, batch_size
        self._seeds: list[int] = []
        self._solved: dict[Hashable, ExactSolutions] = {}

    def __call__(self, configuration: SamplingConfiguration, seeds: Sequence[int]) -> Run:
        """Measure a deterministic configuration; see :meth:`.SamplingConfiguration.within`.

        The exact solutions are kept until they are asked for with other seeds.

        Raises:
            ValueError: the denoiser gave values that are not finite.
        """
        if list(seeds) != self._seeds:
            self._seeds, self._solved = list(seeds), {}
        target, ode = configuration.guided(self._denoiser), self.ode_of(configuration)
        prepared = configuration.sampler.prepare(target)
        if ode not in self._solved:
            low, high = float(prepared.sigmas[-2]), float(prepared.sigmas[0])
            self._solved[ode] = solve_exactly(target, self._seeds, low, high, batch_size=self._batch_size)
        return EndError(self._solved[ode], prepared.solver, prepared.schedule)(prepared.sigmas)

    def ode_of(self, configuration: SamplingConfiguration) -> Hashable:
        """What decides the exact solutions of a configuration: its range of noise levels, and its guidance."""
        sampler = configuration.sampler
        sigmas = sampler.sigmas(configuration.guided(self._denoiser))
        return float(sigmas[-2]), float(sigmas[0]), sampler.guidance
