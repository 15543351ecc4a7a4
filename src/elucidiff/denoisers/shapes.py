"""Noise levels and labels, checked and brought into shape for a batch of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LabelKind = Literal["classes", "vectors", "conditions"]
Labels = Tensor | Sequence[int] | Sequence[str] | Sequence[Sequence[float]] | npt.NDArray[np.generic]


def noise_levels(
    sigma: float | Tensor,
    x: Tensor,
    *,
    may_be_infinite: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Noise levels ``(1,)`` or ``(B,)`` in the type (or ``dtype``) and on the device of ``x``.

    Values are looked at where that waits for nothing: not on an accelerator, nor while a compiler traces.

    Args:
        sigma: one noise level, or one a sample in any shape with ``B`` elements such as ``(B, 1, 1, 1)``.
        x: the batch ``(B, C, *spatial)``.
        may_be_infinite: whether there is an answer at infinity, where ``x`` is noise alone, of unit variance.
        dtype: type of the result, if not that of ``x``.

    Raises:
        TypeError: ``x`` is no tensor, or ``sigma`` no number.
        ValueError: the number of noise levels is neither 1 nor B, or one is negative, not a number or infinite.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x is of type {type(x).__name__}, but must be a tensor (B, C, *spatial)")
    try:
        given = torch.as_tensor(sigma)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"sigma is {sigma!r}, but must be a number, or a tensor of one a sample") from None
    if given.is_complex() or given.dtype == torch.bool:
        raise TypeError(f"sigma is of type {given.dtype}, but must be a real number, or one a sample")
    if given.device.type == "cpu" and not torch.compiler.is_compiling():
        wrong = ~((given >= 0) & (given < math.inf)) if not may_be_infinite else ~(given >= 0)
        if bool(wrong.any()):
            allowed = ">= 0" if may_be_infinite else "finite and >= 0"
            raise ValueError(f"sigma is {float(given[wrong].flatten()[0]):g}, but a noise level must be {allowed}")
    levels = torch.as_tensor(sigma, dtype=dtype or x.dtype, device=x.device).reshape(-1)
    if levels.numel() not in (1, x.shape[0]):
        raise ValueError(f"sigma has {levels.numel()} values for {x.shape[0]} samples: give one, or one a sample")
    return levels


def label_rows(labels: Labels, label_dim: int, kind: LabelKind = "classes") -> Tensor:
    """Labels as floating-point rows ``(B, label_dim)``.

    Args:
        labels: class indices ``(B,)`` of an integer type, which become one-hot rows, or rows ``(B, label_dim)``,
            one-hot, soft or vectors, which stay as they are. A tensor, or a list or NumPy array of the like.
        label_dim: number of classes, or of numbers in a vector.
        kind: of the denoiser's labels. One that takes vectors refuses class indices.

    Raises:
        ValueError: the denoiser takes no labels, an index is out of range, or the shape fits neither form.
    """
    if isinstance(labels, Mapping):
        raise ValueError("labels are a mapping of conditions, but this denoiser takes classes or vectors, or none")
    labels = torch.as_tensor(labels)
    if label_dim == 0:
        raise ValueError("class labels were given to a denoiser without classes: leave labels out")
    if labels.ndim == 2 and labels.shape[1] == label_dim:
        return labels if labels.is_floating_point() else labels.float()
    if kind == "vectors":
        raise ValueError(
            f"labels have shape {tuple(labels.shape)} and type {labels.dtype}: "
            f"this denoiser takes label vectors, so give rows (B, {label_dim})"
        )
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)} and type {labels.dtype}: "
            f"give integer class indices (B,) or rows (B, {label_dim})"
        )
    labels = labels.long()
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < label_dim:
        wrong = int(labels.min()) if int(labels.min()) < 0 else int(labels.max())
        raise ValueError(f"class index {wrong} is out of range: the denoiser knows classes 0 to {label_dim - 1}")
    return torch.nn.functional.one_hot(labels, label_dim).float()


def rows_for(labels: Labels, label_dim: int, x: Tensor, kind: LabelKind = "classes") -> Tensor:
    """:func:`label_rows` in the type and on the device of ``x``, checked against its batch size.

    Raises:
        ValueError: as :func:`label_rows`, or the number of rows is neither 1 nor B.
    """
    rows = label_rows(labels, label_dim, kind).to(x.device, x.dtype)
    check_label_count(rows, x)
    return rows


def check_label_count(rows: Tensor, x: Tensor) -> None:
    """Raise ValueError unless there is one row of labels, or one a sample of ``x``."""
    if rows.shape[0] not in (1, x.shape[0]):
        rows_word, samples_word = "row" if len(rows) == 1 else "rows", "sample" if len(x) == 1 else "samples"
        raise ValueError(
            f"there are {len(rows)} label {rows_word} for {len(x)} {samples_word}: give one, or one a sample"
        )
