"""Metrics that can be trusted: Frechet and kernel distances, precision and recall, each with its error."""

from elucidiff.evaluation.quality.evaluator import Evaluator, Measured, Quality, markdown, repeated
from elucidiff.evaluation.quality.extractors import Extractor, FeatureExtractor, open_extractor
from elucidiff.evaluation.quality.metrics import Metric
from elucidiff.evaluation.quality.pictures import open_images
from elucidiff.evaluation.quality.principal import extractor_by_name, principal_components
from elucidiff.evaluation.quality.reference import BlockStore, OfDataset, Reference, extract_features, open_reference
from elucidiff.evaluation.quality.subject import OfModel

__all__ = [
    "BlockStore",
    "Evaluator",
    "Extractor",
    "FeatureExtractor",
    "Measured",
    "Metric",
    "OfDataset",
    "OfModel",
    "Quality",
    "Reference",
    "extract_features",
    "extractor_by_name",
    "markdown",
    "open_extractor",
    "open_images",
    "open_reference",
    "principal_components",
    "repeated",
]
