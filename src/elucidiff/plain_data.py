"""Settings as plain data: dataclasses and values as dictionaries, lists, numbers and strings, or as text, and back.

One codec for all that is written to JSON, YAML or the command line. Parts (:mod:`elucidiff.parts`), which have a name
and a spelling of their own, make themselves known by :func:`register_nested`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from elucidiff.suggest import suggestion

T = TypeVar("T")


class Nested(Protocol):
    """Reader and writer of values of some annotations, where a dataclass holds them."""

    def reads(self, annotation: Any) -> bool:
        """True if values so annotated are theirs."""

    def writes(self, value: object) -> bool:
        """True if ``value`` is theirs."""

    def from_plain(self, annotation: Any, value: Any) -> Any:
        """The object that a plain form, or a caller, gave."""

    def from_text(self, annotation: Any, text: str) -> Any:
        """The object that ``text`` spells."""

    def to_plain(self, value: object) -> dict[str, Any]:
        """The plain form of an object."""

    def to_text(self, value: object) -> str:
        """The text form of an object."""


_NESTED: list[Nested] = []


def register_nested(nested: Nested) -> None:
    """Let ``nested`` read and write what it says is its own."""
    _NESTED.append(nested)


def to_dict(config: Any) -> dict[str, Any]:
    """The settings of a dataclass as plain dicts, lists, numbers and strings; :func:`from_dict` reads them."""
    return {
        entry.name: to_dict(value)
        if dataclasses.is_dataclass(value := getattr(config, entry.name)) and _writer(value) is None
        else plain_value(value)
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
    return cls(**{name: typed_value(types_of[name], value, name) for name, value in values.items()})


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


def plain_value(value: Any, kind: Any = None) -> Any:
    """A setting as JSON can hold it: tuples become lists, infinity "inf", parts and settings dictionaries."""
    if (writer := _writer(value)) is not None:
        return writer.to_plain(value)
    if isinstance(value, tuple | list):
        return [plain_value(each) for each in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral):
        return float(value) if kind is float else int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"
    raise ValueError(f"{shortened(value)} cannot be written")


def typed_value(kind: Any, value: Any, name: str) -> Any:
    """``value``, as JSON, YAML or a caller gives it, as an instance of the annotation ``kind``.

    Raises:
        ValueError: it is none; the message calls it ``name``.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        inner = [argument for argument in arguments if argument is not type(None)]
        for argument in inner[:-1]:
            try:
                return typed_value(argument, value, name)
            except ValueError:
                continue
        return typed_value(inner[-1], value, name)
    if origin is Literal:
        # YAML 1.1 reads on and off as true and false.
        value = {True: "on", False: "off"}[value] if isinstance(value, bool) and value not in arguments else value
        if value in arguments:
            return value
        raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(map(str, arguments))}")
    if origin is tuple and isinstance(value, list | tuple):
        kinds = (arguments[0],) * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise ValueError(f"{name} takes {len(kinds)} values, not {len(value)}")
        return tuple(typed_value(each, item, name) for each, item in zip(kinds, value, strict=True))
    if (reader := _reader(kind)) is not None:
        try:
            return reader.from_plain(kind, value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        try:
            return from_dict(kind, value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if kind is float and not isinstance(value, bool):
        if isinstance(value, numbers.Real):
            return float(value)
        if (
            isinstance(value, str) and value.lower() != "nan"
        ):  # infinity in JSON, and 1e-3, which YAML 1.1 reads as text since it lacks the point
            try:
                return float(value)
            except ValueError:
                pass
    elif kind is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    elif isinstance(kind, type) and kind not in (int, float) and isinstance(value, kind):
        return value
    raise ValueError(f"{name} is {shortened(value)}, but must be {wanted(kind)}")


def value_from_text(kind: Any, text: str, name: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if text.lower() == "none" and type(None) in arguments:
            return None
        inner = [argument for argument in arguments if argument is not type(None)]
        for argument in inner[:-1]:
            try:
                return value_from_text(argument, text, name)
            except ValueError:
                continue
        return value_from_text(inner[-1], text, name)
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        try:
            text = json.loads(text)
        except ValueError:
            raise ValueError(f"{name} is {text}, whose quotes do not fit") from None
    if origin is Literal:
        for argument in arguments:
            if text == str(argument):
                return argument
        raise ValueError(f"{name} is {text!r}; {suggestion(text, map(str, arguments))}")
    if origin is tuple:
        items = split(text, "/") if text else []
        kinds = (arguments[0],) * len(items) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(items):
            raise ValueError(f"{name} takes {len(kinds)} values, written A/B, not {text!r}")
        return tuple(value_from_text(each, item.strip(), name) for each, item in zip(kinds, items, strict=True))
    if (reader := _reader(kind)) is not None:
        return reader.from_text(kind, text[1:-1] if text.startswith("(") and text.endswith(")") else text)
    if kind is bool:
        if text.lower() in ("true", "on", "yes", "false", "off", "no"):
            return text.lower() in ("true", "on", "yes")
    elif kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            number = math.nan
        if not math.isnan(number):
            return number
    else:
        return text
    raise ValueError(f"{name} is {text!r}, but must be {wanted(kind)}")


def value_to_text(value: Any, kind: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if (writer := _writer(value)) is not None:
        return f"({writer.to_text(value)})"
    if isinstance(value, tuple | list):
        return "/".join(value_to_text(each, None) for each in value)
    if isinstance(value, str):
        return json.dumps(value) if re.search(r'[,()=/:"\s]', value) or value == "" else value
    if isinstance(value, numbers.Integral):
        return str(int(value))
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def can_be_spelled(kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType, tuple):
        return all(each in (type(None), Ellipsis) or can_be_spelled(each) for each in arguments)
    return origin is Literal or kind in (int, float, bool, str) or _reader(kind) is not None


def wanted(kind: Any) -> str:
    known = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        return f"a list, each {wanted(arguments[0])}"
    return known.get(kind) or str(getattr(kind, "__name__", kind))


def shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def numbers_from_text(flag: str, text: str, kind: Callable[[str], T]) -> list[T]:
    """The numbers in ``text``, with commas between them.

    Raises:
        ValueError: it holds something else.
    """
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--{flag} is {text!r}, but must be numbers with commas between them") from None


def split(text: str, separator: str) -> list[str]:
    """``text`` at each separator that is neither within parentheses nor within quotes."""
    entries, depth, quoted, escaped = [""], 0, False, False
    for character in text:
        quoted ^= character == '"' and not escaped
        escaped = quoted and character == "\\" and not escaped
        depth += (not quoted) * ((character == "(") - (character == ")"))
        if character == separator and depth == 0 and not quoted:
            entries.append("")
        else:
            entries[-1] += character
    return entries


def _reader(annotation: Any) -> Nested | None:
    return next((each for each in _NESTED if each.reads(annotation)), None)


def _writer(value: object) -> Nested | None:
    return next((each for each in _NESTED if each.writes(value)), None)
