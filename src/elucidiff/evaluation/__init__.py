"""How good is it? Fidelity metrics, losses per noise level, and distances to the training set."""

from elucidiff.evaluation.frechet import frechet_distance, moments
from elucidiff.evaluation.loss_per_sigma import loss_per_sigma
from elucidiff.evaluation.neighbours import nearest
from elucidiff.evaluation.noise_use import NoiseUse, noise_use

__all__ = ["NoiseUse", "frechet_distance", "loss_per_sigma", "moments", "nearest", "noise_use"]
