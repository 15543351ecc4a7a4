"""Checkpoints: tensors and numbers in one safetensors file, with its SHA-256 beside it.

The folder holds ``000000400000.safetensors``, named by the number of images seen, and ``000000400000.sha256`` in the
format of ``sha256sum -c``. The second is written last, so a checkpoint without it was never finished. Nothing here
executes what it reads.
"""

from __future__ import annotations

import json
import math
import os
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from elucidiff.files import sha256, write_whole
from elucidiff.untrusted import parse_json

_STATE = "state"  # the key of the JSON text in the header of the safetensors file


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on.

    Attributes:
        images_seen: training images so far.
        state: numbers and texts, JSON-able.
        tensors: weights, averages and optimiser state, by name.
    """

    images_seen: int
    state: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class CheckpointFolder:
    """The folder ``path``, which keeps the newest ``keep`` checkpoints."""

    def __init__(self, path: str | os.PathLike[str], keep: int = 3) -> None:
        self.path = Path(path)
        self.keep = keep

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, then remove those that are too old.

        Raises:
            OSError: it could not be written (disk full, no permission). Earlier checkpoints are intact.
        """
        tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
        metadata = {_STATE: json.dumps({"images_seen": checkpoint.images_seen, **checkpoint.state})}
        file = self.path / f"{checkpoint.images_seen:012d}.safetensors"
        # A file of this name can be there: damaged, or of a run that was resumed from before it.
        _checksum_file(file).unlink(missing_ok=True)
        write_whole(file, lambda temporary: _write_tensors(tensors, temporary, metadata))
        write_whole(_checksum_file(file), f"{sha256(file)}  {file.name}\n")
        # Files from further on are damaged ones that this run was resumed from before: it will come there again.
        kept = [other for other in self._files() if other.name <= file.name][-self.keep :]
        for other in self._files():
            if other not in kept:
                _checksum_file(other).unlink(missing_ok=True)
                other.unlink()
        return file

    def newest(self, before: float = math.inf) -> Checkpoint | None:
        """The newest undamaged checkpoint of fewer than ``before`` images, or None where there is none.

        Damaged ones are skipped with a warning.
        """
        for file in reversed(self._files()):
            if int(file.stem) >= before:
                continue
            try:
                return read_checkpoint(file)
            except (ValueError, OSError) as error:
                warnings.warn(f"skipping the checkpoint {file}: {error}", stacklevel=2)
        return None

    def clean(self) -> None:
        """Remove what a killed process left half-written."""
        for temporary in self.path.glob(".*-????????.s*"):
            temporary.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.path.glob("[0-9]*.safetensors"))


def read_checkpoint(file: Path) -> Checkpoint:
    """One checkpoint, if it is whole.

    Raises:
        OSError: it cannot be read.
        ValueError: it was not finished, or is damaged; the message does not name it.
    """
    try:
        expected = _checksum_file(file).read_text(encoding="ascii").split()[0]
    except FileNotFoundError:
        raise ValueError("it was not finished") from None
    except (UnicodeDecodeError, IndexError):
        raise ValueError("its checksum is unreadable") from None
    if sha256(file) != expected:
        raise ValueError("its checksum does not match")
    try:
        with safe_open(file, "pt") as opened:
            state = parse_json(opened.metadata()[_STATE], file)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
        return Checkpoint(state.pop("images_seen"), state, tensors)
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        raise ValueError(f"it is not a checkpoint ({error})") from None


def _write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        safetensors.torch.save_file(tensors, path, metadata)
    except SafetensorError as error:  # which is how safetensors reports a full disk
        raise OSError(f"cannot write the checkpoint {path.parent}: {error}") from None


def _checksum_file(file: Path) -> Path:
    return file.with_suffix(".sha256")
