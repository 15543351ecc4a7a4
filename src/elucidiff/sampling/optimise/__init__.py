"""Noise levels optimised for a model, a solver and a budget of network evaluations."""

from __future__ import annotations

from elucidiff.sampling.optimise.exact import ExactSolutions, solve_exactly
from elucidiff.sampling.optimise.steps import Measurement, OptimisedSteps, measure, optimise_on, optimise_steps

__all__ = [
    "ExactSolutions",
    "Measurement",
    "OptimisedSteps",
    "measure",
    "optimise_on",
    "optimise_steps",
    "solve_exactly",
]
