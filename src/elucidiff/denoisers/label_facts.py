"""What a model knows of the labels that it was trained with; kept among its facts, so in ``model.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from elucidiff.denoisers.shapes import LabelKind


def label_kind(data: Any) -> LabelKind:
    """What labels mean: ``"classes"``, of which a sample has one, or ``"vectors"`` of numbers.

    Args:
        data: ``denoiser.facts["data"]``, as somebody's file may have it; classes, where it does not tell.

    Raises:
        ValueError: it tells of another kind.
    """
    kind = _entry(data, "label_kind")
    if kind in (None, "classes"):
        return "classes"
    if kind != "vectors":
        raise ValueError(f"label_kind is {kind!r}, but must be one of {', '.join(get_args(LabelKind))}")
    return "vectors"


def label_examples(data: Any, label_dim: int) -> Tensor | None:
    """Some label vectors of the training set, float32 ``(K, label_dim)``.

    Args:
        data: ``denoiser.facts["data"]``.
        label_dim: of the denoiser.

    Returns:
        None for classes, and where nobody wrote any down.

    Raises:
        ValueError: an unknown kind, or examples that are not finite rows of ``label_dim`` numbers.
    """
    rows = _entry(data, "label_examples")
    if label_kind(data) == "classes" or rows is None:
        return None
    if not (isinstance(rows, list) and rows and all(_is_row(row, label_dim) for row in rows)):
        raise ValueError(f"label_examples must be rows of {label_dim} finite numbers")
    return torch.tensor(rows, dtype=torch.float32)


def class_names(data: Any, label_dim: int) -> tuple[str, ...]:
    """Names of the classes; empty where nobody wrote them down, and for label vectors.

    Args:
        data: ``denoiser.facts["data"]``.
        label_dim: of the denoiser.

    Raises:
        ValueError: an unknown kind, or names that are not ``label_dim`` different texts.
    """
    names = _entry(data, "class_names")
    if label_kind(data) == "vectors" or not label_dim or names in (None, [], ()):
        return ()
    whole = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not whole or len(names) != label_dim or len(set(names)) != label_dim:
        raise ValueError(f"class_names must be {label_dim} different texts")
    return tuple(names)


def class_counts(data: Any, label_dim: int) -> tuple[int, ...]:
    """How many training images each class had; empty where nobody wrote it down, and for label vectors.

    Args:
        data: ``denoiser.facts["data"]``.
        label_dim: of the denoiser.

    Raises:
        ValueError: an unknown kind, or counts that are not ``label_dim`` integers of which some are more than 0.
    """
    counts = _entry(data, "class_counts")
    if label_kind(data) == "vectors" or not label_dim or counts in (None, [], ()):
        return ()
    whole = isinstance(counts, list | tuple) and all(type(count) is int and count >= 0 for count in counts)
    if not whole or len(counts) != label_dim or not 0 < sum(counts) < 2**62:
        raise ValueError(f"class_counts must be {label_dim} numbers of images, not all of them 0")
    return tuple(counts)


def _entry(data: Any, name: str) -> Any:
    return data.get(name) if isinstance(data, Mapping) else None


def _is_row(row: Any, label_dim: int) -> bool:
    numbers = isinstance(row, list) and all(type(value) in (int, float) for value in row)
    # Finite in float32, which the network sees.
    return numbers and len(row) == label_dim and all(abs(value) < 3e38 and math.isfinite(value) for value in row)
