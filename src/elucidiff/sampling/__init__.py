"""From noise to data: solvers, churn, seeds and the sampling loop (Karras et al. 2022, Sections 3 and 4)."""

from __future__ import annotations

from elucidiff.data.scaling import to_uint8
from elucidiff.sampling.churn import Churn, Restart
from elucidiff.sampling.editing import Edit
from elucidiff.sampling.encoding import decode, encode, round_trip_error
from elucidiff.sampling.fixed_batch import FixedBatch
from elucidiff.sampling.grid import clamp_range
from elucidiff.sampling.interpolation import Interpolation, interpolate_samples, interpolate_seeds, slerp
from elucidiff.sampling.likelihood import bits_per_dim, dequantise, log_likelihood
from elucidiff.sampling.likelihood.measuring import Likelihood
from elucidiff.sampling.loop import SampleResult, Step, sample
from elucidiff.sampling.optimise import OptimisedSteps, optimise_steps
from elucidiff.sampling.own_samplers import OwnSampler, make_samplers, measure_samplers
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.saved_samplers import NamedSampler, load_named, save_named
from elucidiff.sampling.sde import sample_predictor_corrector, sample_sde
from elucidiff.sampling.seeds import SeededNoise, parse_seeds

__all__ = [
    "Churn",
    "Edit",
    "FixedBatch",
    "Interpolation",
    "Likelihood",
    "NamedSampler",
    "OptimisedSteps",
    "OwnSampler",
    "Restart",
    "SampleResult",
    "Sampler",
    "SeededNoise",
    "Step",
    "bits_per_dim",
    "clamp_range",
    "decode",
    "dequantise",
    "encode",
    "interpolate_samples",
    "interpolate_seeds",
    "load_named",
    "log_likelihood",
    "make_samplers",
    "measure_samplers",
    "optimise_steps",
    "parse_seeds",
    "round_trip_error",
    "sample",
    "sample_predictor_corrector",
    "sample_sde",
    "save_named",
    "slerp",
    "to_uint8",
]
