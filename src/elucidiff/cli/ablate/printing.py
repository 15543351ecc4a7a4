"""Tables of measurements in print, and how a verb that was stopped ends."""

from __future__ import annotations

import sys

from elucidiff.cli.common.progress import code_after
from elucidiff.evaluation.ablation.report import Filled


def finished(filled: Filled) -> int:
    """Print the tables, if anything was to be measured, and return the exit code."""
    if filled.tables:
        print(filled.to_markdown())
    if filled.stopped is not None:
        print(
            f"stopped by {filled.stopped}, what was measured is kept; the same command goes on from here",
            file=sys.stderr,
        )
    return code_after(filled.stopped)
