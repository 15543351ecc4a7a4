"""How good is it? Fidelity metrics, losses per noise level, and distances to the training set."""

from elucidiff.evaluation.frechet import frechet_distance, moments
from elucidiff.evaluation.loss_per_sigma import loss_per_sigma
from elucidiff.evaluation.neighbours import nearest
from elucidiff.evaluation.noise_use import NoiseUse, noise_use
from elucidiff.evaluation.quality import (
    Evaluator,
    Quality,
    Reference,
    open_extractor,
    open_reference,
    principal_components,
    repeated,
)

__all__ = [
    "Evaluator",
    "NoiseUse",
    "Quality",
    "Reference",
    "frechet_distance",
    "loss_per_sigma",
    "moments",
    "nearest",
    "noise_use",
    "open_extractor",
    "open_reference",
    "principal_components",
    "repeated",
]
