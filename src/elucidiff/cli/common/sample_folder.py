"""A folder with a few samples, all of them in one sheet, and a record of how they came about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from elucidiff.cli.common.images import write_sheet
from elucidiff.files import write_whole
from elucidiff.sampling.jobs.outputs import encoded


def write_samples(out: Path, names: Sequence[str], x: Tensor, *, pictures: bool) -> list[str]:
    """Write each sample to a file of its own.

    Args:
        out: the folder; made if missing.
        names: of the files, without suffix.
        x: samples (B, C, *spatial) on the CPU.
        pictures: whether they are pictures in [-1, 1]. Else each becomes a float32 ``.npy``.

    Returns:
        the names with their suffix.

    Raises:
        OSError: a file cannot be written.
    """
    files = [f"{name}{'.png' if pictures else '.npy'}" for name in names]
    for file, content in zip(files, encoded(x, pictures), strict=True):
        write_whole(out / file, content)
    return files


def write_account(
    out: Path, name: str, sheet: Tensor, columns: int, facts: Mapping[str, Any], *, pictures: bool
) -> None:
    """Write ``sheet.png`` with the samples ``sheet``, and then ``name`` with ``facts`` as JSON.

    Raises:
        OSError: a file cannot be written.
    """
    if sheet.ndim > 2:
        write_sheet(out / "sheet.png", sheet, columns, pictures=pictures)
    write_whole(out / name, json.dumps(dict(facts), indent=1) + "\n")
