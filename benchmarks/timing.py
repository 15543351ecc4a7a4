"""Two sides measured in turn, so that a machine whose speed drifts cannot favour one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def interleaved(
    sides: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each side in each round, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for k in range(rounds + 1):
        for name, side in sides.items():
            start = clock()
            side()
            if k:
                seconds[name].append(clock() - start)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> str:
    """The median over rounds of how many times longer ``slow`` took, with the range over rounds."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return f"{statistics.median(ratios):.3f} (rounds: {min(ratios):.3f} to {max(ratios):.3f})"
