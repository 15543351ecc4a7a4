"""Frozen dataclasses of numbers as JSON-able dictionaries, for the files that describe a model or a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def to_config(part: Any, types: Mapping[str, type]) -> dict[str, Any]:
    """The settings of ``part`` and, as "type", its name in ``types``. Infinity, which JSON lacks, becomes "inf"."""
    name = next(name for name, cls in types.items() if type(part) is cls)
    settings = {field.name: getattr(part, field.name) for field in fields(part)}
    return {"type": name, **{key: "inf" if value == math.inf else value for key, value in settings.items()}}


def from_config(config: Mapping[str, Any], types: Mapping[str, type[T]], what: str) -> T:
    """The object that :func:`to_config` described; settings that are left out take their defaults.

    Args:
        config: "type" and settings.
        types: the classes that "type" may name.
        what: the kind of object, for messages.

    Raises:
        ValueError: the type is unknown, a setting is unknown, or a value is not a number that the class accepts.
    """
    name = config.get("type") if isinstance(config, Mapping) else config
    if not isinstance(name, str) or name not in types:
        raise ValueError(f"{what} of type {name!r} is unknown: choose one of {', '.join(types)}")
    known = {field.name: field.default for field in fields(types[name])}  # type: ignore[arg-type]
    settings: dict[str, float] = {}
    for key, value in config.items():
        if key == "type":
            continue
        if key not in known:
            raise ValueError(f"{what} {name!r} has no setting {key!r}: it has {', '.join(known)}")
        if isinstance(value, bool) or not (isinstance(value, int | float) or value == "inf"):
            raise ValueError(f"{key} of {what} {name!r} is {value!r}: it must be a number")
        if isinstance(known[key], int) and not isinstance(value, int):
            raise ValueError(f"{key} of {what} {name!r} is {value!r}: it must be a whole number")
        settings[key] = math.inf if value == "inf" else value
    return types[name](**settings)
