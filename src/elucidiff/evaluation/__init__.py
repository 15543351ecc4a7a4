"""Evaluation: metrics, curves, ablations and searches; losses per noise level, and distances to the training set.

::

    ed.evaluation.evaluate("runs/demo/model", "digits", extractor="pca-20")["fid"].value
    ed.evaluation.measure_curve("runs/demo/model", choices={"solver": ["heun", "ipndm:order=3"]})
    ed.evaluation.ablate_sampling("runs/demo/model", nfe=[11, 35])
    ed.evaluation.search_samplers("runs/demo/model", ["n=6:18"], trials=20)
"""

from __future__ import annotations

import importlib
from typing import Any

from elucidiff.data.nearest import nearest
from elucidiff.evaluation.frechet import frechet_distance, moments
from elucidiff.evaluation.loss_per_sigma import NoiseUse, loss_per_sigma, noise_use, noise_use_of_data
from elucidiff.evaluation.quality import (
    Evaluator,
    FeatureExtractor,
    Metric,
    Quality,
    Reference,
    open_extractor,
    open_reference,
    principal_components,
    repeated,
)

__all__ = [
    "Evaluator",
    "FeatureExtractor",
    "MeasuredLikelihood",
    "Metric",
    "NoiseUse",
    "PairEvaluation",
    "PairMetric",
    "Quality",
    "Reference",
    "Score",
    "ablate_sampling",
    "ablate_training",
    "evaluate",
    "evaluate_pairs",
    "frechet_distance",
    "loss_per_sigma",
    "measure_curve",
    "measure_likelihood",
    "moments",
    "nearest",
    "noise_use",
    "noise_use_of_data",
    "open_extractor",
    "open_reference",
    "principal_components",
    "repeated",
    "scored",
    "search_samplers",
]

_ROOMS = ("ablation", "curve", "search")
_LATER = {
    "MeasuredLikelihood": "likelihood",
    "PairEvaluation": "pairs",
    "PairMetric": "pairs",
    "Score": "pairs",
    "ablate_sampling": "ablation",
    "ablate_training": "ablation",
    "evaluate": "quality.evaluation",
    "evaluate_pairs": "pairs",
    "measure_curve": "curve",
    "measure_likelihood": "likelihood",
    "scored": "pairs",
    "search_samplers": "search",
}


def __getattr__(name: str) -> Any:
    """Import what takes longer on first use (PEP 562): whole evaluations, curves, ablations and searches."""
    if name in _LATER:
        return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
