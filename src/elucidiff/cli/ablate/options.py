"""Flags that all ablations share, and how a verb that fills tables ends."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from elucidiff.cli.common.progress import Watching, code_after
from elucidiff.evaluation.ablation import Filled
from elucidiff.launch.interrupt import Watch


@dataclass(frozen=True, kw_only=True)
class Ablation(ABC):
    """Fills a table, a row for each configuration."""

    extractor: str = "pca-20"
    """Features by which samples are compared with the data, as for `elucidiff evaluate`: pca-20 for principal
    components of small images; none to do without."""
    metrics: str = "fid"
    """Metrics, with commas between them: fid, kid, precision, recall, is."""
    only: str | None = None
    """Some of the configurations, by name, with commas between them."""
    first_seed: int = 0
    """Seed of the first image. Choose seeds on which nothing was searched or optimised."""
    batch_size: int = 64
    """Images in one call of the network when sampling."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    out: Path | None = None
    """Folder of the table and of all that was measured (ablations/KIND-MODEL or -RECIPE). What is there is kept."""
    plan: bool = False
    """Say what there is to do and about how long it takes, and do nothing."""

    @abstractmethod
    def fill(self, watch: Watch) -> Filled:
        """Measure what is missing."""

    def __call__(self) -> int:
        """Fill the table, print it, and return the exit code."""
        with Watching() as watch:
            filled = self.fill(watch)
        return finished(filled)


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
