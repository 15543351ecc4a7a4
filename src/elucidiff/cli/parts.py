"""``elucidiff parts [KIND [NAME]]``: the parts there are, plugins' included, and what each can be told."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin

from elucidiff.cli.common.verbs import listed
from elucidiff.parts import KINDS, Kind, Setting, find, kind_named, parts_of, settings, summary
from elucidiff.plain_data import value_to_text

_USAGE = """usage: elucidiff parts [KIND [NAME]] [--plugin MODULE]

Without KIND: all kinds of parts. With it: its parts. With NAME: the settings of one.

Examples:
  elucidiff parts
  elucidiff parts solver
  elucidiff parts solver ipndm
"""


def run(arguments: Sequence[str]) -> int:
    """Print kinds, parts of a kind, or a part."""
    if {"-h", "--help"} & set(arguments):
        print(f"{_USAGE}\n{_kinds()}")
        return 0
    words = list(arguments)
    if flags := [word for word in words if word.startswith("-")]:
        raise ValueError(f"parts has no option {flags[0]!r}: write elucidiff parts [KIND [NAME]]")
    # Some kinds have names of two words: "training noise" may be written as two arguments.
    if len(words) >= 2 and f"{words[0]} {words[1]}" in KINDS:
        words[:2] = [f"{words[0]} {words[1]}"]
    if len(words) > 2:
        raise ValueError(
            f"parts takes a kind and a name, not {len(words)} words: write elucidiff parts [KIND [NAME]]"
        )
    if not words:
        print(_kinds())
    elif len(words) == 1:
        print(_parts(kind_named(words[0])))
    else:
        print(_part(kind_named(words[0]), words[1]))
    return 0


def _kinds() -> str:
    rows = {}
    for kind in KINDS.values():
        names = list(parts_of(kind.name))
        rows[_word(kind)] = f"{kind.what}: {', '.join(names)}" if names else kind.what
    return listed(rows)


def _parts(kind: Kind) -> str:
    rows = {name: summary(cls) for name, cls in parts_of(kind.name).items()}
    if not rows:
        return f"There is no {kind.name} yet: bring your own with --plugin MODULE."
    return listed(rows)


def _part(kind: Kind, name: str) -> str:
    cls = find(kind.name, name)
    lines = [f"{kind.name} {name}: {summary(cls)}", ""]
    spelled = settings(cls)
    if not spelled:
        return "\n".join([*lines, "It has no settings.", "", f"Written: {name}"])
    heads = [f"{each.name} ({_type(each.type)}; {_default(each)}{_range(each)})" for each in spelled]
    for head, each in zip(heads, spelled, strict=True):
        lines += [f"  {head}", *([f"      {each.help}"] if each.help else [])]
    return "\n".join([*lines, "", f"Written: {_example(name, spelled)}"])


def _example(name: str, spelled: Sequence[Setting]) -> str:
    """A text form with up to two settings."""
    shown = [each for each in spelled if each.default is not dataclasses.MISSING and each.default is not None][:2]
    needed = [each for each in spelled if each.default is dataclasses.MISSING]
    words = [f"{each.name}={_type(each.type).upper()}" for each in needed]
    words += [f"{each.name}={value_to_text(each.default, each.type)}" for each in shown]
    return f"{name}:{','.join(words)}" if words else name


def _default(each: Setting) -> str:
    if each.default is dataclasses.MISSING:
        return "required"
    return f"default {value_to_text(each.default, each.type)}"


def _range(each: Setting) -> str:
    if each.search is None:
        return ""
    low, high, log = each.search
    return f"; a search tries {low:g} to {high:g}{' by its logarithm' if log else ''}"


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join("none" if each is type(None) else _type(each) for each in arguments)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin is tuple:
        return "values A/B/..." if Ellipsis in arguments else "/".join(_type(each) for each in arguments)
    known = {float: "number", int: "whole number", bool: "true or false", str: "text"}
    return known.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _word(kind: Kind) -> str:
    return kind.name.replace(" ", "-")
