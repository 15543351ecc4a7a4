"""``elucidiff ablate sampling|churn|alpha|training|augment``: the paper's tables, on any data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elucidiff.cli.ablate_sampling import AlphaTable, ChurnTable, SamplingTable
from elucidiff.cli.ablate_training import AugmentTable, TrainingTable
from elucidiff.cli.common.arguments import listed, parse
from elucidiff.suggest import suggestion

TABLES: dict[str, type[Any]] = {
    "sampling": SamplingTable,
    "churn": ChurnTable,
    "alpha": AlphaTable,
    "training": TrainingTable,
    "augment": AugmentTable,
}


def run(arguments: Sequence[str]) -> int:
    """Fill and print one of the tables. Ctrl-C and SIGTERM keep what is measured, and exit with 130 and 0."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    name = arguments[0]
    if name not in TABLES:
        raise ValueError(f"unknown table {name!r}; {suggestion(name, TABLES)}")
    return int(parse(TABLES[name], arguments[1:], prog=f"elucidiff ablate {name}")())


def _usage() -> str:
    rows = listed({name: table.title for name, table in TABLES.items()})
    return (
        f"usage: elucidiff ablate TABLE [options]\n\ntables of Karras et al. 2022:\n{rows}\n\n"
        "`elucidiff ablate TABLE --help` explains each."
    )
