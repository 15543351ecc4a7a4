"""``elucidiff ablate sampling|churn|alpha|training|augment``: the paper's tables, on any data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elucidiff.cli.ablate.sampling import AlphaOptions, ChurnOptions, SamplingOptions
from elucidiff.cli.ablate.training import AugmentOptions, TrainingOptions
from elucidiff.cli.common.verbs import Actions
from elucidiff.evaluation.ablation import TITLES

TABLES: dict[str, type[Any]] = {
    "sampling": SamplingOptions,
    "churn": ChurnOptions,
    "alpha": AlphaOptions,
    "training": TrainingOptions,
    "augment": AugmentOptions,
}


def run(arguments: Sequence[str]) -> int:
    """Fill and print one of the tables. Ctrl-C and SIGTERM keep what is measured, and exit with 130 and 0."""
    actions = Actions("elucidiff ablate", "table", TITLES, "tables of Karras et al. 2022:")
    name, rest = actions.choose(arguments)
    return int(actions.parse(TABLES[name], name, rest)())
