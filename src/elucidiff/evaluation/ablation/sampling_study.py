"""Ablations of sampling: one model, many ways to sample from it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from elucidiff.denoisers.base import DenoiserLike
from elucidiff.evaluation.ablation.cells import TRUNCATION, Cell, Measured, SampleEvaluator, Tick
from elucidiff.evaluation.ablation.cost import seconds_per_evaluation
from elucidiff.evaluation.ablation.measure import TruncationErrors, evaluate_images
from elucidiff.evaluation.ablation.sampling import SamplingConfiguration
from elucidiff.evaluation.results import sampler_columns
from elucidiff.sampling.optimise.exact import FINE_STEPS
from elucidiff.sampling.seeds import SeedRanges


class SamplingAblation:
    """Some configurations at some budgets, on blocks of seeds that all of them share.

    Args:
        denoiser: D, which states its ``sample_shape``; used where it is.
        configurations: the rows.
        budgets: network evaluations per sample.
        blocks: how many blocks of seeds there are; a spread needs two.
        images: in each block.
        exact_images: how many of them are compared with exact solutions, which cost 128 evaluations each; 0 for none.
        evaluator: figures of quality; None for the truncation error alone.
        first_seed: of the first block.
        batch_size: images in every call of the denoiser.
        strict: whether it is an error that a configuration cannot be had within a budget; else that is left out.

    Attributes:
        left_out: why, by configuration and budget.

    Raises:
        ValueError: there is nothing to measure, a number is out of its range, or a budget is too small.
    """

    unit = "evaluations"

    def __init__(
        self,
        denoiser: DenoiserLike,
        configurations: Sequence[SamplingConfiguration],
        budgets: Sequence[int],
        *,
        blocks: int = 3,
        images: int = 512,
        exact_images: int = 64,
        evaluator: SampleEvaluator | None = None,
        first_seed: int = 0,
        batch_size: int = 16,
        strict: bool = True,
    ) -> None:
        if not configurations or not budgets or len(set(budgets)) < len(budgets):
            raise ValueError(f"budgets are {tuple(budgets)}: choose some numbers of evaluations, each once")
        if blocks < 1 or images < 2 or not 0 <= exact_images <= images:
            raise ValueError(
                f"{blocks} blocks of {images} images, {exact_images} of them compared with exact solutions, make no "
                "measurement: choose at least 1 block, 2 images, and no more exact ones"
            )
        if evaluator is None and not exact_images:
            raise ValueError("there is neither an evaluator nor a truncation error to measure: choose one")
        self._denoiser, self._judge, self._batch_size = denoiser, evaluator, batch_size
        self._blocks = blocks
        self._images, self._exact_images, self._first_seed = images, exact_images, first_seed
        self.left_out: dict[tuple[str, int], str] = {}
        self._made = self._within(configurations, budgets, strict)
        # Batches are filled up with copies, which cost as much as images.
        self._truncation = TruncationErrors(denoiser, min(batch_size, exact_images or batch_size))

    def cells(self) -> list[Cell]:
        """See :class:`.Ablation`."""
        return [Cell(name, budget, seed) for seed in range(self._blocks) for name, budget in self._made]

    def metrics(self, cell: Cell) -> list[str]:
        """See :class:`.Ablation`."""
        exact = self._exact_images and self._made[cell.configuration, cell.nfe].deterministic
        return [*([TRUNCATION] if exact else []), *(self._judge.metrics if self._judge else ())]

    def columns(self, cell: Cell, metric: str) -> dict[str, Any]:
        """See :class:`.Ablation`."""
        configuration, seeds = self._made[cell.configuration, cell.nfe], self.seeds_of(cell)
        exact = metric == TRUNCATION
        made = sampler_columns(configuration.sampler, configuration.guided(self._denoiser))
        return {
            **(made if configuration.method == "sampler" else made | {"solver": configuration.method}),
            "seeds": str(seeds[: self._exact_images] if exact else seeds),
            "images": self._exact_images if exact else self._images,
            "lower_is_better": exact or self._judge is None or self._judge.metrics[metric],
        }

    def seeds_of(self, cell: Cell) -> SeedRanges:
        """The seeds of a cell's images."""
        start = self._first_seed + cell.seed * self._images
        return SeedRanges([range(start, start + self._images)])

    def measure(self, cell: Cell, metrics: Sequence[str], tick: Tick) -> Measured:
        """See :class:`.Ablation`.

        Raises:
            ValueError: the denoiser gave values that are not finite where an exact solution was wanted.
        """
        begun = time.monotonic()
        configuration, seeds = self._made[cell.configuration, cell.nfe], self.seeds_of(cell)
        figures: dict[str, float] = {}
        nfe = 0
        tick(0.0)
        if TRUNCATION in metrics:
            run = self._truncation(configuration, seeds[: self._exact_images])
            figures[TRUNCATION], nfe = run.error, run.nfe
        if self._judge is not None and any(name in metrics for name in self._judge.metrics):
            found, nfe = evaluate_images(self._judge, configuration, self._denoiser, seeds, self._batch_size, tick)
            figures |= found
        return Measured(figures, nfe, time.monotonic() - begun)

    def work(self, cell: Cell) -> float:
        """See :class:`.Ablation`. The cells of a seed that follow the same ODE share their exact solutions."""
        evaluations = float(cell.nfe * self._images if self._judge else 0)
        if TRUNCATION in self.metrics(cell):
            evaluations += self._exact_images * (cell.nfe + self._odes_per_follower * FINE_STEPS)
        return evaluations

    def seconds(self, cell: Cell) -> float:
        """See :class:`.Ablation`."""
        return self.work(cell) * self._seconds_per_evaluation

    def _within(
        self, configurations: Sequence[SamplingConfiguration], budgets: Sequence[int], strict: bool
    ) -> dict[tuple[str, int], SamplingConfiguration]:
        """All configurations within all budgets; what has a cost of its own, once."""
        made = {}
        for each in configurations:
            for budget in [each.cost(self._denoiser)] if each.settled else budgets:
                try:
                    made[each.name, budget] = each if each.settled else each.within(budget, self._denoiser)
                except ValueError as error:
                    if strict:
                        raise
                    self.left_out[each.name, budget] = str(error)
        return made

    @cached_property
    def _odes_per_follower(self) -> float:
        """How many ODEs are solved exactly in a block of seeds, for each configuration that follows one."""
        followers = [each for each in self._made.values() if each.deterministic]
        return len({self._truncation.ode_of(each) for each in followers}) / len(followers)

    @cached_property
    def _seconds_per_evaluation(self) -> float:
        return seconds_per_evaluation(self._denoiser, self._batch_size)
