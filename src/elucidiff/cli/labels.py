"""The labels that ``--labels`` asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
    written, checked = (_classes, _checked_classes) if classes else (_vector, _checked_vectors)
    return checked(text, _read(Path(text)) if text.endswith(".npy") else written(text), denoiser)


def _checked_classes(text: str, values: npt.NDArray[Any], denoiser: Denoiser) -> Tensor:
    if values.ndim != 1 or values.dtype.kind not in "iu" or not values.size:
        raise ValueError(f"--labels {text} holds {values.dtype} {values.shape}: the model takes integer classes (K,)")
    wrong = values[(values < 0) | (values >= denoiser.label_dim)]
    if wrong.size:
        raise ValueError(
            f"--labels {text}: class {wrong[0]} is out of range, the model knows 0 to {denoiser.label_dim - 1}"
        )
    return torch.from_numpy(values.astype(np.int64))


def _checked_vectors(text: str, values: npt.NDArray[Any], denoiser: Denoiser) -> Tensor:
    if values.ndim != 2 or values.shape[1] != denoiser.label_dim or values.dtype.kind not in "iuf" or not values.size:
        raise ValueError(
            f"--labels {text} holds {values.dtype} {values.shape}: the model takes label vectors (K, "
            f"{denoiser.label_dim}), from a .npy file or as {denoiser.label_dim} numbers with commas between them"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"--labels {text} holds values that are not finite")
    return torch.from_numpy(values.astype(np.float32))


def _classes(text: str) -> npt.NDArray[np.int64]:
    try:
        return np.array(parse_seeds(text))
    except ValueError as error:
        raise ValueError(str(error).replace("seeds", "--labels", 1)) from None


def _vector(text: str) -> npt.NDArray[np.float64]:
    try:
        return np.array([[float(part) for part in text.split(",")]])
    except ValueError:
        raise ValueError(
            f"--labels {text!r} is not a label vector: write its numbers with commas between them, or a .npy file"
        ) from None


def _read(path: Path) -> npt.NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise ValueError(f"--labels {path} is damaged, or holds Python objects, which are never unpickled") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"--labels {path} is not a .npy file")
    return array
