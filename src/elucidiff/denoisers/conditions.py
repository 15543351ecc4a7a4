"""Conditions of samples, as tensors with the batch as first dimension: padded, split and selected alike.

Label rows (B, label_dim) are the usual kind. Others are token sequences (B, L, E), masks or fields (B, C, *spatial),
or several of them under names. A first dimension of 1 stands for all samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeGuard

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Conditions = Tensor | Mapping[str, Tensor]
"""One tensor, or named ones, each (B, ...) or (1, ...)."""

GivenConditions = Conditions | Sequence[object] | npt.NDArray[np.generic] | Mapping[str, object]
"""Lists and NumPy arrays, which may be given in their place."""


def conditions_from(given: object) -> Conditions:
    """Conditions from tensors, arrays or lists, or a mapping of these; types and values stay as they are.

    Raises:
        ValueError: something is no tensor, or has no batch dimension.
    """
    if isinstance(given, Mapping):
        if not given:
            raise ValueError("the mapping of conditions is empty: leave labels out, or name a tensor")
        return {str(name): tensor_from(value, f"the condition {name!r}") for name, value in given.items()}
    return tensor_from(given, "labels")


def check_count(conditions: Conditions, batch: int) -> None:
    """Raise ValueError unless each condition has one row, or one a sample."""
    for name, value in _named(conditions):
        if value.shape[0] not in (1, batch):
            rows, samples = "row" if len(value) == 1 else "rows", "sample" if batch == 1 else "samples"
            raise ValueError(f"there are {len(value)} {name} {rows} for {batch} {samples}: give one, or one a sample")


def for_network(conditions: Conditions, x: Tensor, dtype: torch.dtype) -> Conditions:
    """Conditions where ``x`` is, those of floating point in the network's type.

    Raises:
        ValueError: one has neither one row nor one a sample of ``x``.
    """
    check_count(conditions, x.shape[0])
    return each(conditions, lambda value: value.to(x.device, dtype if value.is_floating_point() else None))


def each(conditions: Conditions, change: Callable[[Tensor], Tensor]) -> Conditions:
    """The conditions, each tensor changed by a function."""
    if is_named(conditions):
        return {name: change(value) for name, value in conditions.items()}
    assert isinstance(conditions, Tensor)
    return change(conditions)


def rows_of(conditions: Conditions, rows: Tensor | slice, batch: int) -> Conditions:
    """Some rows of each condition; what stands for all ``batch`` samples becomes one row each.

    Args:
        conditions: (B, ...) or (1, ...).
        rows: indices, on any device, or a slice.
        batch: B.
    """

    def chosen(value: Tensor) -> Tensor:
        where = rows.to(value.device) if isinstance(rows, Tensor) else rows
        return value.expand(batch, *value.shape[1:])[where]

    return each(conditions, chosen)


def selected(conditions: Conditions, rows: Tensor | slice, batch: int) -> Conditions:
    """Like :func:`rows_of`, but what stands for all samples stays one row."""
    if batch == 1:
        return rows_of(conditions, rows, batch)
    return each(conditions, lambda value: value if len(value) == 1 else _tensor_of(rows_of(value, rows, batch)))


def joined(first: Conditions, second: Conditions, batch: int) -> Conditions:
    """The conditions of two batches of ``batch`` samples each, in one batch.

    Raises:
        ValueError: they are not of the same names and shapes.
    """
    if shapes_of(first) != shapes_of(second):
        raise ValueError(
            f"the conditions to guide away from have the shapes {_shown(second)}, those to guide to {_shown(first)}: "
            "give both alike"
        )
    everything = slice(None)
    one, other = rows_of(first, everything, batch), rows_of(second, everything, batch)
    if is_named(one) and is_named(other):
        return {name: torch.cat([value, other[name].to(value)]) for name, value in one.items()}
    return torch.cat([_tensor_of(one), _tensor_of(other).to(_tensor_of(one))])


def shapes_of(conditions: Conditions) -> dict[str, tuple[int, ...]]:
    """The shape of each condition without its batch, by its name (empty for a tensor alone)."""
    if is_named(conditions):
        return {name: tuple(value.shape[1:]) for name, value in sorted(conditions.items())}
    return {"": tuple(_tensor_of(conditions).shape[1:])}


def is_named(conditions: object) -> TypeGuard[Mapping[str, Tensor]]:
    """True if there are several conditions under names."""
    return isinstance(conditions, Mapping)


def _shown(conditions: Conditions) -> str:
    return ", ".join(f"{name} {shape}".strip() for name, shape in shapes_of(conditions).items())


def _named(conditions: Conditions) -> list[tuple[str, Tensor]]:
    if is_named(conditions):
        return [(f"{name!r}", value) for name, value in conditions.items()]
    return [("label", _tensor_of(conditions))]


def _tensor_of(conditions: Conditions) -> Tensor:
    assert isinstance(conditions, Tensor)
    return conditions


def tensor_from(given: object, what: str) -> Tensor:
    """A tensor (B, ...) from a tensor, an array or lists.

    Raises:
        ValueError: it is none, or has no batch dimension.
    """
    try:
        value = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{what} is {given!r:.60}: give a tensor or array (B, ...), or a mapping of them") from None
    if value.ndim == 0:
        raise ValueError(f"{what} has no batch dimension: give a tensor (B, ...), or (1, ...) for all samples")
    return value
