"""Settings dataclasses as plain dicts, lists, numbers and strings, and back."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from elucidiff.suggest import suggestion

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """The settings as plain dicts, lists, numbers and strings."""
    return {
        entry.name: to_dict(value)
        if dataclasses.is_dataclass(value := getattr(config, entry.name))
        else list(value)
        if isinstance(value, tuple)
        else value
        for entry in dataclasses.fields(config)
    }


def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
    """The inverse of :func:`to_dict`; fields left out have their defaults.

    Raises:
        ValueError: a field is unknown (the message suggests the nearest), missing, or of the wrong type.
    """
    types_of = get_type_hints(cls)
    for name in values:
        if name not in types_of:
            raise ValueError(f"unknown field {name!r}; {suggestion(str(name), types_of)}")
    required = [
        entry.name
        for entry in dataclasses.fields(cls)  # type: ignore[arg-type]
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    ]
    for name in required:
        if name not in values:
            raise ValueError(f"the field {name!r} is missing")
    return cls(**{name: _value(types_of[name], value, name) for name, value in values.items()})


def first_difference(
    before: Mapping[str, Any], now: Mapping[str, Any], ignore: Sequence[str] = ()
) -> tuple[str, Any, Any] | None:
    """The first field in which two plain dicts differ, as (dotted name, value before, value now), or None."""
    for name in [*before, *(name for name in now if name not in before)]:
        old, new = before.get(name), now.get(name)
        if name in ignore or old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping) and (inner := first_difference(old, new)):
            return f"{name}.{inner[0]}", *inner[1:]
        return name, old, new
    return None


def _value(kind: Any, value: Any, name: str) -> Any:
    """``value``, as YAML gives it, as an instance of the annotated type ``kind``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _value(inner, value, name)
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        try:
            return from_dict(kind, value)  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if origin is Literal:
        # YAML 1.1 reads on and off as true and false.
        value = {True: "on", False: "off"}[value] if isinstance(value, bool) else value
        if value in arguments:
            return value
    if origin is tuple and isinstance(value, list | tuple):
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise ValueError(f"{name} takes {len(arguments)} values, not {len(value)}")
        return tuple(_value(arguments[0], item, name) for item in value)
    if kind is float:
        # YAML 1.1 reads 1e-3 as text, since it lacks the point.
        with_point = _number(value)
        if with_point is not None:
            return with_point
    elif isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    wanted = f"one of {', '.join(map(str, arguments))}" if origin is Literal else getattr(kind, "__name__", str(kind))
    raise ValueError(f"{name} is {value!r}, but must be {wanted}")


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
