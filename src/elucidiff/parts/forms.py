"""Parts as text and as plain values for JSON and YAML, and back."""

from __future__ import annotations

import dataclasses
import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any

from elucidiff.parts.kinds import called, kind_named, kind_of
from elucidiff.parts.registry import MARK, PARTS, Setting, find, name_of, settings
from elucidiff.plain_data import (
    plain_value,
    register_nested,
    shortened,
    split,
    typed_value,
    value_from_text,
    value_to_text,
)
from elucidiff.suggest import suggestion


def parse(kind: str, text: str, like: object | None = None) -> Any:
    """The part that ``text`` spells: ``NAME`` or ``NAME:SETTING,...``, each ``key=value`` or, in order, a value.

    Tuples are written ``80/10/1/0``, no value ``none``, a part within a part in parentheses. Of kinds with only one
    sensible part the name may be left out: ``30,sigma_min=0.01`` is churn. The inverse of :func:`to_text`.

    Args:
        kind: the kind.
        text: what is to be read.
        like: a part that has the settings that are left out, as far as it knows them; by default each has its own.

    Raises:
        ValueError: no such part or setting, or a value of the wrong type or out of its range.

    >>> import elucidiff as ed
    >>> ed.parts.parse("churn", "30,sigma_min=0.05").amount
    30.0
    """
    known = kind_named(kind)
    name, colon, rest = text.strip().partition(":")
    if (known.bare is not None and not colon and not re.fullmatch(r"[A-Za-z]\w*", name)) or (
        known.bare is not None and re.match(r"[\w.]+=|[\d.+-]", name)
    ):
        name, rest = known.bare, text
    name = name.strip()
    cls = find(known.name, name)
    spelled = settings(cls)
    values: dict[str, Any] = {}
    for place, entry in enumerate(split(rest, ",") if rest.strip() else []):
        key, equals, value = entry.partition("=")
        if not equals:
            if place >= len(spelled) or len(values) < place:
                raise ValueError(f"{known.name} {text!r}: write {entry.strip()!r} as a setting, NAME=VALUE")
            key, value = spelled[place].name, entry
        key = key.strip().replace("-", "_")
        chosen = next((each for each in spelled if each.name == key), None)
        if chosen is None:
            raise ValueError(f"{called(known, name)} {_no_setting(key, spelled)}")
        if key in values:
            raise ValueError(f"{known.name} {text!r} sets {key} twice")
        values[key] = value_from_text(chosen.type, value.strip(), f"{key} of {called(known, name)}")
    if like is not None:
        shared = {each.name for each in settings(type(like))} & {each.name for each in spelled}
        values = {each: getattr(like, each) for each in shared} | values
    return _made(cls, values, called(known, name))


def to_text(value: object) -> str:
    """The text form of a part, settings at their defaults left out; :func:`parse` reads it.

    Raises:
        ValueError: it is not registered, or holds what no text can spell.

    >>> import elucidiff as ed
    >>> ed.parts.to_text(ed.solvers.IPNDM(order=3))
    'ipndm:order=3'
    """
    name = name_of(value)
    _check_spelled(value)
    written = [
        f"{each.name}={value_to_text(getattr(value, each.name), each.type)}"
        for each in settings(type(value))
        if each.default is dataclasses.MISSING or getattr(value, each.name) != each.default
    ]
    return f"{name}:{','.join(written)}" if written else name


def to_plain(value: object) -> dict[str, Any]:
    """A part as JSON-able values: its name as "type", and all its settings; :func:`from_plain` reads it.

    Infinity, which JSON lacks, becomes "inf".

    Raises:
        ValueError: it is not registered, or holds what cannot be written.

    >>> import elucidiff as ed
    >>> ed.parts.to_plain(ed.solvers.IPNDM(order=3))
    {'type': 'ipndm', 'order': 3}
    """
    name = name_of(value)
    _check_spelled(value)
    return {
        "type": name,
        **{each.name: plain_value(getattr(value, each.name), each.type) for each in settings(type(value))},
    }


def from_plain(kind: str, values: object) -> Any:
    """The part that :func:`to_plain` wrote; settings that are left out have their defaults.

    Raises:
        ValueError: it is no such form, no such part or setting is known, or a value is of the wrong type or range.

    >>> import elucidiff as ed
    >>> ed.parts.from_plain("solver", {"type": "ipndm"})
    IPNDM(order=4)
    """
    known = kind_named(kind)
    if isinstance(values, Mapping) and known.bare is not None:
        values = {"type": known.bare, **values}
    if not isinstance(values, Mapping) or not isinstance(values.get("type"), str):
        raise ValueError(f"{values!r} does not describe a {known.name}: it has no type")
    name = values["type"]
    cls = find(known.name, name)
    spelled = {each.name: each for each in settings(cls)}
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key == "type":
            continue
        if key not in spelled:
            raise ValueError(f"{called(known, name)} {_no_setting(str(key), list(spelled.values()))}")
        arguments[key] = typed_value(spelled[key].type, value, f"{key} of {called(known, name)}")
    return _made(cls, arguments, called(known, name))


def resolve(kind: str, value: Any) -> Any:
    """The part that ``value`` means: a part itself, a name or text form, or a plain form.

    Raises:
        TypeError: it is none of these.
        ValueError: a text or plain form means no part.

    >>> import elucidiff as ed
    >>> ed.parts.resolve("solver", "heun") == ed.parts.resolve("solver", ed.solvers.Heun())
    True
    """
    known = kind_named(kind)
    if isinstance(value, str):
        return parse(known.name, value)
    if isinstance(value, type):
        raise TypeError(f"{known.name} is the class {value.__name__}: give an object, such as {value.__name__}()")
    mark = getattr(type(value), MARK, None)
    if isinstance(value, known.type) or (mark is not None and mark[0] == known.name):
        return value
    if isinstance(value, Mapping):
        return from_plain(known.name, value)
    if known.bare is not None and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return find(known.name, known.bare)(value)
    raise TypeError(
        f"{known.name} is {shortened(value)}, but must be a {known.type.__name__}, or a text such as "
        f"{next(iter(PARTS[known.name]), 'NAME')!r}"
    )


def _check_spelled(value: object) -> None:
    """Raise ValueError if a field that no text can spell is not at its default."""
    spelled = {each.name for each in settings(type(value))}
    for entry in dataclasses.fields(value):  # type: ignore[arg-type]
        if entry.init and entry.name not in spelled and getattr(value, entry.name) is not entry.default:
            raise ValueError(f"{entry.name} of {type(value).__name__} cannot be written: only its default can")


def _made(cls: type, values: Mapping[str, Any], what: str) -> Any:
    missing = [each.name for each in settings(cls) if each.default is dataclasses.MISSING and each.name not in values]
    if missing:
        raise ValueError(f"{what} needs {missing[0]}: write {missing[0]}=VALUE")
    return cls(**values)


def _no_setting(key: str, spelled: Sequence[Setting]) -> str:
    names = [each.name for each in spelled]
    return f"has no setting {key!r}; {suggestion(key, names)}" if names else f"has no settings, but {key!r} is set"


class _Parts:
    """Parts within dataclasses, as :class:`.Nested` reads and writes them."""

    def reads(self, annotation: Any) -> bool:
        return kind_of(annotation) is not None

    def writes(self, value: object) -> bool:
        return MARK in type(value).__dict__

    def from_plain(self, annotation: Any, value: Any) -> Any:
        return resolve(self._name(annotation), value)

    def from_text(self, annotation: Any, text: str) -> Any:
        return parse(self._name(annotation), text)

    def to_plain(self, value: object) -> dict[str, Any]:
        return to_plain(value)

    def to_text(self, value: object) -> str:
        return to_text(value)

    def _name(self, annotation: Any) -> str:
        kind = kind_of(annotation)
        assert kind is not None  # reads() said so
        return kind.name


register_nested(_Parts())
