"""Probabilities of given samples under a model: log-densities, and bits/dim of 8-bit images."""

from __future__ import annotations

from elucidiff.sampling.likelihood.density import LogLikelihood, bits_per_dim, dequantise, log_likelihood
from elucidiff.sampling.likelihood.measuring import ImageBits, Likelihood, measure, summary

__all__ = [
    "ImageBits",
    "Likelihood",
    "LogLikelihood",
    "bits_per_dim",
    "dequantise",
    "log_likelihood",
    "measure",
    "summary",
]
