"""A search as a study of Optuna's, which refuses to go on as another search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import optuna
from optuna import Study
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from elucidiff.plain_data import first_difference

FACTS = "elucidiff"
Direction = Literal["minimize", "maximize"]


def open_study(
    storage: BaseStorage,
    name: str,
    facts: Mapping[str, Any],
    directions: list[Direction],
    sampler: BaseSampler,
    pruner: BasePruner,
) -> Study:
    """The study of a name, begun if there is none.

    Args:
        storage: where it is.
        name: its name.
        facts: all that decides its results, as JSON-able values: model, space, objective, seeds.
        directions: of its objectives.
        sampler: proposes trials.
        pruner: ends hopeless ones.

    Raises:
        ValueError: the study was begun with other facts, by something else, or by hand.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=directions,
        sampler=sampler,
        pruner=pruner,
        load_if_exists=True,
    )
    attributes = study.user_attrs
    if FACTS not in attributes:
        if study.get_trials(deepcopy=False):
            raise ValueError(f"the study {name!r} was not begun by elucidiff search: choose another --study")
        study.set_user_attr(FACTS, dict(facts))
        attributes = study.user_attrs  # where several workers begin at once, all see the last one's
    if difference := first_difference(attributes[FACTS], facts):
        what, before, now = difference
        raise ValueError(
            f"the study {name!r} was begun with {_told(what, before)}, not {_told(what, now)}: "
            "choose another --study, or the same settings"
        )
    return study


def _told(what: str, value: Any) -> str:
    text = f"{value}"
    return f"{what.replace('.', ' ')} = {text if len(text) < 60 else text[:57] + '...'}"
