"""The numbers behind a figure in a file, so that it can be drawn again without the model."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elucidiff.data.npy import read_arrays
from elucidiff.files import write_whole
from elucidiff.untrusted import parse_json, reading

_ABOUT = "about"


@dataclass(frozen=True)
class Numbers:
    """What a figure is drawn from.

    Attributes:
        figure: its name for ``elucidiff figure``.
        command: that made it.
        facts: what else its text and labels say; JSON-able.
        arrays: by name.
    """

    figure: str
    command: str
    facts: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``path``, a compressed ``.npz`` file, whole.

        Raises:
            OSError: it cannot be written.
        """
        about = json.dumps({"figure": self.figure, "command": self.command, "facts": dict(self.facts)})
        file = io.BytesIO()
        arrays: dict[str, Any] = {_ABOUT: np.array(about), **self.arrays}
        np.savez_compressed(file, **arrays)
        return write_whole(path, file.getvalue())


def read_numbers(path: Path) -> Numbers:
    """What :meth:`Numbers.save` wrote. Nothing in the file is executed.

    Raises:
        ValueError: it is something else, or damaged.
        OSError: it cannot be read.
    """
    with reading(path, "holds no numbers of a figure: name a .npz file that `elucidiff figure` wrote"):
        arrays = read_arrays(path)
        about = parse_json(str(arrays.pop(_ABOUT)), path)
        return Numbers(str(about["figure"]), str(about["command"]), dict(about["facts"]), arrays)
