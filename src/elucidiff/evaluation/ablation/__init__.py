"""One choice at a time: what each part of a design is worth (Karras et al. 2022, Tables 2 to 6, and App. D.2)."""

from elucidiff.evaluation.ablation.augmentation import AugmentationConfiguration, augmentation_configurations
from elucidiff.evaluation.ablation.cells import Ablation, Cell, Judge, Measured
from elucidiff.evaluation.ablation.judges import open_judge
from elucidiff.evaluation.ablation.ledger import ResultsLedger
from elucidiff.evaluation.ablation.recipes import RECIPES, recipe
from elucidiff.evaluation.ablation.running import fill, missing_cells
from elucidiff.evaluation.ablation.sampling import (
    SamplingConfiguration,
    alpha_configurations,
    churn_configurations,
    sampling_configurations,
)
from elucidiff.evaluation.ablation.sampling_study import SamplingAblation
from elucidiff.evaluation.ablation.tables import Column, Table, markdown, to_csv
from elucidiff.evaluation.ablation.training import (
    TRAINING_CONFIGURATIONS,
    Baseline,
    TrainingConfiguration,
    configure,
)
from elucidiff.evaluation.ablation.training_study import TrainingAblation

__all__ = [
    "RECIPES",
    "TRAINING_CONFIGURATIONS",
    "Ablation",
    "AugmentationConfiguration",
    "Baseline",
    "Cell",
    "Column",
    "Judge",
    "Measured",
    "ResultsLedger",
    "SamplingAblation",
    "SamplingConfiguration",
    "Table",
    "TrainingAblation",
    "TrainingConfiguration",
    "alpha_configurations",
    "augmentation_configurations",
    "churn_configurations",
    "configure",
    "fill",
    "markdown",
    "missing_cells",
    "open_judge",
    "recipe",
    "sampling_configurations",
    "to_csv",
]
