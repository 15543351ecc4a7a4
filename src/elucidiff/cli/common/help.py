"""The page of ``--help`` of a verb, from its dataclass: grouped, with the parts there are, and short."""

from __future__ import annotations

import dataclasses
import inspect
import shutil
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from elucidiff import parts
from elucidiff.docstrings import helps

_NARROWEST, _WIDEST = 40, 120
_COLUMN = 26
_COMPUTING = (
    *("device", "batch_size", "extractor_batch_size", "device_batch_size", "processes", "threads", "backend"),
    *("cache", "data_workers", "precision", "loss_scale", "tf32", "channels_last", "compile", "sharding"),
)
_TITLES = {"sampling": "how to sample", "config": "", "network": "the network", "augment": "augmentation"}
_PARTS = "A part is written NAME or NAME:SETTING=VALUE,...; `elucidiff parts` explains them all."
_METAVARS: Mapping[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


@dataclass(frozen=True)
class Names:
    """Marks a field that takes the text form of a part: its help lists the names that there are.

    Attributes:
        kind: of the part.
    """

    kind: str


@dataclass(frozen=True)
class Flag:
    """A flag, or an argument without one.

    Attributes:
        name: such as ``--batch-size``; empty for an argument.
        metavar: what stands for its value.
        text: what it is for.
        group: the title it stands below.
    """

    name: str
    metavar: str
    text: str
    group: str

    @property
    def head(self) -> str:
        """How it is written."""
        return f"{self.name} {self.metavar}".strip()


def help_page(options: type, prog: str, default: object = None) -> str:
    """All flags of a dataclass of options, as :func:`tyro.cli` reads them.

    Args:
        options: the dataclass.
        prog: the program and its verb.
        default: an object with the defaults, where they are not those of the class.
    """
    width = max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns))
    flags = list(flags_of(options, default, group=getattr(options, "HELP_TITLE", "options")))
    arguments = [flag for flag in flags if not flag.name]
    lines = textwrap.wrap(" ".join([f"usage: {prog}", *(flag.metavar for flag in arguments), "[options]"]), width)
    for paragraph in (inspect.getdoc(options) or "").split("\n\n"):
        lines += ["", *textwrap.wrap(" ".join(paragraph.split()), width)]
    groups: dict[str, list[Flag]] = {"": arguments}
    for flag in flags:
        if flag.name:
            groups.setdefault(flag.group, []).append(flag)
    last = groups.pop("how to compute", [])
    if last:
        groups["how to compute"] = last
    for title, members in groups.items():
        lines += ["", *([f"{title}:"] if title else [])] if members else []
        if title == _TITLES["sampling"]:
            lines += textwrap.wrap(_PARTS, width, initial_indent="  ", subsequent_indent="  ")
        for flag in members:
            lines += _entry(flag, width)
    plugin = Flag("--plugin", "MODULE", "A module or .py file with parts of your own; any number of times.", "")
    return "\n".join([*lines, "", *_entry(plugin, width)])


def flags_of(options: type, default: object = None, prefix: str = "", group: str = "options") -> Iterator[Flag]:
    """The flags of a dataclass and of those within it."""
    hints, texts = get_type_hints(options, include_extras=True), helps(options)
    for entry in dataclasses.fields(options):
        if not entry.init:
            continue
        value = _default(entry) if default is None else getattr(default, entry.name)
        kind, marks = _unwrapped(hints[entry.name])
        positional = tyro.conf.Positional in marks
        nested = kind if dataclasses.is_dataclass(kind) and isinstance(kind, type) else None
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            nested = type(value)
        if nested is not None and not positional:
            inner = None if value is dataclasses.MISSING else value
            bare = any(getattr(mark, "name", None) == "" for mark in marks)
            title = _TITLES.get(entry.name, entry.name.replace("_", " ")) or group
            yield from flags_of(nested, inner, prefix if bare else f"{prefix}{entry.name}.", title)
            continue
        text = next((mark.help for mark in marks if getattr(mark, "help", None)), texts.get(entry.name, ""))
        names = [_names(mark.kind) for mark in marks if isinstance(mark, Names)]
        text = " ".join([text, *names, *_shown(value, text)])
        where = "how to compute" if entry.name in _COMPUTING and not prefix else group
        if positional:
            metavar = entry.name.upper() if value is dataclasses.MISSING else f"[{entry.name.upper()}]"
            yield Flag("", metavar, text.strip(), "")
            continue
        name = f"{prefix}{entry.name}".replace("_", "-")
        yield Flag(
            f"--no-{name}" if kind is bool and value is True else f"--{name}", _metavar(kind), text.strip(), where
        )


def _entry(flag: Flag, width: int) -> list[str]:
    head = f"  {flag.head}"
    start = head.ljust(_COLUMN) + "  " if len(head) <= _COLUMN else f"{head}  "
    rows = textwrap.wrap(
        start + flag.text,
        width,
        subsequent_indent=" " * (_COLUMN + 2 if width > 2 * _COLUMN else 4),
        drop_whitespace=True,
        break_on_hyphens=False,
    )
    return rows or [head]


def _names(kind: str) -> str:
    return f"({', '.join(parts.parts_of(kind))})"


def _shown(value: Any, text: str) -> list[str]:
    """The default, where it says something that the text does not."""
    if value is dataclasses.MISSING:
        return []
    if value is None or isinstance(value, bool) or value in ((), ""):
        return []
    words = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return [] if text.rstrip().endswith(f"({words}).") else [f"[{words}]"]


def _metavar(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return "|".join(dict.fromkeys(_metavar(each) for each in arguments if each is not type(None)))
    if origin is Literal:
        return "{" + ",".join(str(each) for each in arguments if each is not None) + "}"
    if origin is tuple:
        inner = _metavar(_unwrapped(arguments[0])[0])
        return f"{inner} ..." if Ellipsis in arguments else " ".join([inner] * len(arguments))
    return "" if kind is bool else _METAVARS.get(kind, "TEXT")


def _unwrapped(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation and what it is marked with."""
    marks: tuple[Any, ...] = ()
    while hasattr(annotation, "__metadata__"):
        marks, annotation = (*marks, *annotation.__metadata__), annotation.__origin__
    return annotation, marks


def _default(entry: dataclasses.Field[Any]) -> Any:
    return entry.default if entry.default_factory is dataclasses.MISSING else entry.default_factory()
