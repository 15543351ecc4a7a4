"""A search that takes no time: its figure is a parabola, so the best sampler is known."""

from __future__ import annotations

import math
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from elucidiff.design.steps import Karras
from elucidiff.evaluation.search import CHURN, Outcome, Search, Space, parse_options
from elucidiff.sampling import Sampler
from elucidiff.sampling.seeds import SeedRanges

SEEDS = SeedRanges([range(1000, 1090)])


def rho(sampler: Sampler) -> float:
    """That of its karras steps."""
    assert isinstance(sampler.steps, Karras)
    return sampler.steps.rho


def churn(sampler: Sampler) -> float:
    """S_churn."""
    return 0.0 if sampler.churn is None else sampler.churn.amount


def parabola(sampler: Sampler, seeds: Sequence[int]) -> Outcome:
    """Smallest for rho = 5 and S_churn = 3; few seeds add a bias that is the same for all."""
    value = (rho(sampler) - 5) ** 2 + (churn(sampler) - 3) ** 2 + 1 / len(seeds)
    return Outcome(value, 2 * sampler.n - 1)


def search(over: Sequence[str] = ("rho", *CHURN), trials: int = 20, **changes: Any) -> Search:
    """A search on 90 seeds, looked at after 10 and 30 unless ``rungs`` says otherwise."""
    base = changes.pop("base", Sampler())
    options = parse_options(over, base, grid=changes.get("method") == "grid")
    return Search(Space(base, options), SEEDS, changes.pop("rungs", (10, 30, 90)), trials, **changes)


def journal(folder: Path) -> str:
    """Where a study may be that costs little."""
    return str(folder / "study.journal")


def close(a: float, b: float) -> bool:
    """Equal but for rounding."""
    return math.isclose(a, b, rel_tol=1e-9)


def begin(work: Callable[[], object]) -> int:
    """Do ``work`` in a process of its own, which is quicker to fork than to start; its number."""
    process = os.fork()
    if process == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return process


def end_of(process: int) -> int:
    """Wait for a process; its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
