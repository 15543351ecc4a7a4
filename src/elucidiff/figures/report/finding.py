"""Files in a folder that a report can show."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from elucidiff.evaluation.results import CSV
from elucidiff.figures.grid import RECORD

METRICS, CONFIG = "metrics.jsonl", "config.yaml"


@dataclass(frozen=True)
class Found:
    """Places, each list sorted.

    Attributes:
        runs: folders of trainings.
        tables: folders with a table of results.
        numbers: files with the numbers of a figure.
        samples: folders of samples with a record.
    """

    runs: tuple[Path, ...]
    tables: tuple[Path, ...]
    numbers: tuple[Path, ...]
    samples: tuple[Path, ...]

    def __bool__(self) -> bool:
        """True if there is anything."""
        return bool(self.runs or self.tables or self.numbers or self.samples)


def find(folder: Path) -> Found:
    """Look through a folder and all below it, but for hidden ones.

    The trainings of an ablation are left out: its table says what came of them.

    Raises:
        OSError: the folder is not there, or cannot be read.
    """
    runs, tables, numbers, samples = [], [], [], []
    os.scandir(folder).close()  # os.walk is silent about a folder that is not there
    for here, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        place = Path(here)
        if METRICS in files and CONFIG in files:
            runs.append(place)
        if CSV in files:
            tables.append(place)
        if RECORD in files:
            samples.append(place)
        numbers += [place / name for name in sorted(files) if name.endswith(".npz") and _of_a_figure(place / name)]
    alone = [run for run in runs if not any(table != run and table in run.parents for table in tables)]
    return Found(tuple(alone), tuple(tables), tuple(numbers), tuple(samples))


def _of_a_figure(path: Path) -> bool:
    """True if a file says that it has the numbers of a figure; data sets and statistics are such files, too."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "about.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
