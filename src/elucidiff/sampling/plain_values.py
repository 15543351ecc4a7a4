"""Sampling choices as plain values that JSON can hold, and back."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from elucidiff.suggest import suggestion

if TYPE_CHECKING:
    from elucidiff.sampling.sampler import Sampler


def to_plain(choices: Sampler) -> dict[str, Any]:
    """All choices as JSON-able values; infinity becomes the string "inf", and a tuple a list."""
    return {name: _plain(value) for name, value in asdict(choices).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return "inf" if value == math.inf else value


def checked(name: str, value: Any, kind: str) -> Any:
    """A choice made in Python, if it is of the type that the field's annotation ``kind`` says.

    NumPy's numbers and arrays, and tensors of noise levels, become Python's.

    Raises:
        TypeError: it is of another.
    """
    if isinstance(value, np.ndarray | Tensor) and kind.startswith("tuple"):
        value = value.tolist()
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = int(value)
    elif isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = float(value)
    try:
        return _typed(name, value, kind)
    except ValueError as error:
        raise TypeError(str(error)) from None


def arguments_from(values: Mapping[str, Any], kind: type[Sampler]) -> dict[str, Any]:
    """Plain ``values`` as arguments of ``kind``: the inverse of :func:`to_plain`.

    Raises:
        ValueError: a name is unknown (the nearest one is suggested), or a value is of the wrong type.
    """
    known = {field.name: str(field.type) for field in fields(kind)}
    for name in values:
        if name not in known:
            raise ValueError(f"there is no sampling option {name!r}; {suggestion(name, known)}")
    return {name: _typed(name, value, known[name]) for name, value in values.items()}


def _typed(name: str, value: Any, kind: str) -> Any:
    """``value`` if it is of the type that the field's annotation ``kind`` says, "inf" and integers made floats."""
    if value is None and "None" in kind:
        return None
    if kind.startswith("tuple"):
        if isinstance(value, list | tuple):
            return tuple(_typed(name, entry, "float") for entry in value)
        raise ValueError(f"sampling option {name} is {value!r}, but must be a list of numbers")
    if isinstance(value, str) and kind.startswith("str"):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and kind.startswith("int"):
        return value
    if kind.startswith("float"):
        if value == "inf":
            return math.inf
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    raise ValueError(f"sampling option {name} is {value!r}, but must be of type {kind}")
