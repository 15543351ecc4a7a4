"""``elucidiff train DATA``: the plan of a training, on the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

from elucidiff.cli.common.progress import Progress
from elucidiff.data.standard_sets import NAMES
from elucidiff.launch.coordination import notice_board
from elucidiff.suggest import suggestion
from elucidiff.training import TrainingConfig
from elucidiff.training.planning import Plan, look_at, plan
from elucidiff.training.planning.choosing import EVENING, Choice
from elucidiff.training.presets import PRESETS
from elucidiff.untrusted import clipped


def make_plan(given: TrainingConfig, minutes: float | None) -> Plan:
    """Look at the data, time this machine, and plan; tells on standard error what is being done.

    Args:
        given: the settings that the command line names; data, labels, device, seed and start are heeded.
        minutes: how long the training may take; an evening if nobody says.
    """
    with Progress("looking at the data", 1, "images") as bar:
        found = look_at(given.data, progress=lambda _, done, total: bar.reach(done, fraction=done / max(total, 1)))
    with Progress("planning", 1, "networks") as bar:
        board = notice_board()
        return plan(
            found,
            minutes=EVENING if minutes is None else minutes,
            conditional=given.conditional,
            device=given.device,
            processes=1 if board is None else board.count,
            seed=given.seed,
            start=given.start_from,
            say=bar.say,
        )


def is_data(name: str, *, helping: bool = False) -> bool:
    """Whether ``name`` is that of data to plan for, not of a preset or of a file of settings.

    Args:
        name: what was given.
        helping: whether help is asked for, for which the data need not be there.

    Raises:
        ValueError: it is the name of nothing; the nearest preset or standard set is suggested.
    """
    if name in PRESETS or name.endswith((".yaml", ".yml")):
        return False
    if helping:
        return True
    base, colon, _ = name.rpartition(":")
    if os.path.exists(os.path.expanduser(name)) or name in NAMES or (colon and base in NAMES):
        return True
    if colon and os.path.exists(os.path.expanduser(base)):
        return True
    near = suggestion(name[:100], [*PRESETS, *NAMES])
    raise ValueError(
        f"{clipped(name)!r} is neither a data set (there is no such file or folder) nor a preset; {near}"
    )


def both_note(name: str) -> str | None:
    """What to say of a name that is a preset and something else, too; None if it is not."""
    if name not in PRESETS:
        return None
    if os.path.exists(name):
        return f"{name} is taken as the preset; ./{name} names what lies here"
    return None


def print_plan(made: Plan, config: TrainingConfig, run_dir: Path) -> None:
    """Print a plan as a table, and what was given instead of it.

    Args:
        made: the plan.
        config: the settings with what the command line changed.
        run_dir: the run folder.
    """
    table = Table("setting", "value", "why", title=f"A training on {made.config.data}")
    for choice in [*made.choices, *_given(made.config, config)]:
        table.add_row(choice.setting, choice.value, choice.reason)
    console = Console()
    console.print(table)
    for note in made.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"`elucidiff train {run_dir / 'config.yaml'}` repeats it", markup=False, highlight=False, soft_wrap=True
    )


def _given(planned: TrainingConfig, config: TrainingConfig) -> list[Choice]:
    """What the command line changed."""
    return [
        Choice(entry.name, clipped(str(now), 60), "as it was given")
        for entry in fields(planned)
        if (now := getattr(config, entry.name)) != getattr(planned, entry.name)
    ]


def without(arguments: Sequence[str], *flags: str) -> list[str]:
    """The arguments without some flags that have no value."""
    return [argument for argument in arguments if argument not in flags]
