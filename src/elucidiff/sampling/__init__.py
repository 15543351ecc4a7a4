"""From noise to data: solvers, churn, seeds and the sampling loop (Karras et al. 2022, Sections 3 and 4)."""

from __future__ import annotations

from elucidiff.data.scaling import to_uint8
from elucidiff.sampling.chunks import FixedBatch
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.grid import clamp_range
from elucidiff.sampling.loop import Step, sample
from elucidiff.sampling.predictor_corrector import sample_predictor_corrector
from elucidiff.sampling.sampler import Sampler, SampleResult
from elucidiff.sampling.sde import sample_sde
from elucidiff.sampling.seeds import SeededNoise, parse_seeds

__all__ = [
    "Churn",
    "FixedBatch",
    "SampleResult",
    "Sampler",
    "SeededNoise",
    "Step",
    "clamp_range",
    "parse_seeds",
    "sample",
    "sample_predictor_corrector",
    "sample_sde",
    "to_uint8",
]
