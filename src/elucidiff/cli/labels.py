"""The labels that ``--labels`` asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.cli.npy import read_npy
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.sampling.seeds import parse_seeds


def labels_asked_for(text: str, denoiser: Denoiser) -> Tensor:
    """The labels in ``text``, in the form that the denoiser takes.

    Args:
        text: for classes their numbers and ranges, such as ``0-3,7``; for label vectors one of them, such as
            ``0.3,-0.7``; or the name of a ``.npy`` file with integers (K,) or rows (K, label_dim).
        denoiser: whose labels they are.

    Returns:
        classes (K,), int64, or vectors (K, label_dim), float32.

    Raises:
        ValueError: the denoiser takes none, or others.
        OSError: the file cannot be read.
    """
    if denoiser.label_dim == 0:
        raise ValueError("--labels were given, but the model was trained without labels")
    classes = denoiser.label_kind == "classes"
    checked = _checked_classes if classes else _checked_vectors
    if text.endswith(".npy"):
        return checked(text, _read(Path(text)), denoiser)
    return checked(text, _classes(text, denoiser.label_dim) if classes else _vector(text), denoiser)


def _checked_classes(text: str, values: npt.NDArray[Any], denoiser: Denoiser) -> Tensor:
    if values.ndim != 1 or values.dtype.kind not in "iu" or not values.size:
        raise ValueError(f"--labels {text} holds {values.dtype} {values.shape}: the model takes integer classes (K,)")
    for extreme in (values.min(), values.max()):  # there may be many, so nothing as long as they are is made
        if not 0 <= extreme < denoiser.label_dim:
            raise _out_of_range(text, int(extreme), denoiser.label_dim)
    return torch.from_numpy(values.astype(np.int64, copy=False))


def _checked_vectors(text: str, values: npt.NDArray[Any], denoiser: Denoiser) -> Tensor:
    if values.ndim != 2 or values.shape[1] != denoiser.label_dim or values.dtype.kind not in "iuf" or not values.size:
        raise ValueError(
            f"--labels {text} holds {values.dtype} {values.shape}: the model takes label vectors (K, "
            f"{denoiser.label_dim}), from a .npy file or as {denoiser.label_dim} numbers with commas between them"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"--labels {text} holds values that are not finite")
    return torch.from_numpy(values.astype(np.float32, copy=False))


def _classes(text: str, label_dim: int) -> npt.NDArray[np.int64]:
    try:
        asked = parse_seeds(text)
    except ValueError as error:
        raise ValueError(str(error).replace("seeds", "--labels", 1)) from None
    if asked.largest >= label_dim:
        raise _out_of_range(text, asked.largest, label_dim)
    return np.array(asked)


def _out_of_range(text: str, label: int, label_dim: int) -> ValueError:
    return ValueError(f"--labels {text}: class {label} is out of range, the model knows 0 to {label_dim - 1}")


def _vector(text: str) -> npt.NDArray[np.float64]:
    try:
        return np.array([[float(part) for part in text.split(",")]])
    except ValueError:
        raise ValueError(
            f"--labels {text!r} is not a label vector: write its numbers with commas between them, or a .npy file"
        ) from None


def _read(path: Path) -> npt.NDArray[Any]:
    # Mapped, so that labels for millions of samples need not be in memory.
    array = read_npy(path, f"--labels {path}", mmap_mode="c")
    if not isinstance(array, np.ndarray):
        raise ValueError(f"--labels {path} is not a .npy file")
    return array
