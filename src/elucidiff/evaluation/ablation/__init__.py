"""One choice at a time: what each part of a design is worth (Karras et al. 2022, Tables 2 to 6, and App. D.2)."""

from elucidiff.evaluation.ablation.ablating import (
    TITLES,
    SamplingTable,
    TrainingTable,
    ablate_sampling,
    ablate_training,
    alpha_table,
    augmentation_table,
    churn_table,
    deterministic_table,
    training_table,
)
from elucidiff.evaluation.ablation.cells import (
    Ablation,
    Cell,
    Measured,
    ResultsLedger,
    SampleEvaluator,
    fill,
    missing_cells,
)
from elucidiff.evaluation.ablation.measure import open_evaluator
from elucidiff.evaluation.ablation.report import Filled, Report, fill_tables
from elucidiff.evaluation.ablation.sampling import (
    SamplingConfiguration,
    alpha_configurations,
    churn_configurations,
    sampling_configurations,
)
from elucidiff.evaluation.ablation.studies import SamplingAblation, TrainingAblation
from elucidiff.evaluation.ablation.tables import Column, Table, markdown, to_csv
from elucidiff.evaluation.ablation.training import (
    RECIPES,
    TRAINING_CONFIGURATIONS,
    AugmentationConfiguration,
    Baseline,
    TrainingConfiguration,
    augmentation_configurations,
    configure,
    recipe,
)

__all__ = [
    "RECIPES",
    "TITLES",
    "TRAINING_CONFIGURATIONS",
    "Ablation",
    "AugmentationConfiguration",
    "Baseline",
    "Cell",
    "Column",
    "Filled",
    "Measured",
    "Report",
    "ResultsLedger",
    "SampleEvaluator",
    "SamplingAblation",
    "SamplingConfiguration",
    "SamplingTable",
    "Table",
    "TrainingAblation",
    "TrainingConfiguration",
    "TrainingTable",
    "ablate_sampling",
    "ablate_training",
    "alpha_configurations",
    "alpha_table",
    "augmentation_configurations",
    "augmentation_table",
    "churn_configurations",
    "churn_table",
    "configure",
    "deterministic_table",
    "fill",
    "fill_tables",
    "markdown",
    "missing_cells",
    "open_evaluator",
    "recipe",
    "sampling_configurations",
    "to_csv",
    "training_table",
]
