"""Command lines from dataclasses, with every mistake told in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import itertools
import os
import re
import shutil
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from elucidiff import parts
from elucidiff.parts.registry import helps
from elucidiff.suggest import suggestion
from elucidiff.untrusted import clipped

T = TypeVar("T")


def parse(options: type[T], arguments: Sequence[str], *, prog: str, default: T | None = None) -> T:
    """Fill the dataclass ``options`` from ``arguments``, starting from ``default`` where one is given.

    Raises:
        ValueError: an unknown or malformed argument, in one line.
        SystemExit: ``--help`` was asked for and printed.
    """
    for before, argument in itertools.pairwise(["", *arguments]):
        if not argument.strip():
            where = f"after {clipped(before)} " if before else ""
            raise ValueError(f"the argument {where}is empty: give it a value")
    # The choices of sampling are the verb's own flags: --sampling.n is --n.
    arguments = [re.sub(r"^--sampling\.(?=\w)", "--", argument) for argument in arguments]
    if not {"-h", "--help"}.isdisjoint(arguments):
        print(help_page(options, prog, default))
        raise SystemExit(0)
    _refuse_unknown(options, default, arguments, prog)
    said = io.StringIO()
    try:
        with _wide(), contextlib.redirect_stderr(said):
            if default is None:
                parsed = tyro.cli(options, args=list(arguments), prog=prog, config=_STYLE)
            else:
                parsed = tyro.cli(options, args=list(arguments), prog=prog, default=default, config=_STYLE)
        _refuse_absurd(parsed)
        return parsed
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        raise ValueError(f"{_one_line(said.getvalue())} (`{prog} --help` lists every option)") from None


# One way to write each flag: `--grid`, not also `--no-grid`.
_STYLE = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes)


_WIDE = 10_000


def _refuse_unknown(options: type, default: object, arguments: Sequence[str], prog: str) -> None:
    """Raise ValueError if there is no such flag; the nearest is suggested."""
    known = [flag.name for flag in flags_of(options, default) if flag.name]
    for argument in itertools.takewhile("--".__ne__, arguments):
        name = argument.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in known and not name.startswith("--tyro-"):
            near = suggestion(name, known)
            hint = f"; {near.replace(chr(39), '')}" if near.startswith("did you mean") else ""
            raise ValueError(f"there is no option {clipped(name)}{hint} (`{prog} --help` lists every option)")


# Beyond these, a number is a slip of the finger that would only cost memory, processes or time.
_MOST = {
    "n": 10**6, "nfe": 10**4, "batch_size": 10**6, "extractor_batch_size": 10**6, "repeats": 10**6, "probes": 10**6,
    "trials": 10**9, "shard_size": 10**9, "resize": 1 << 16, "columns": 10**4, "memorisation_samples": 10**6,
    "processes": 4096, "workers": 4096, "data_workers": 4096, "blocks_per_level": 10**4, "base_channels": 10**6,
}  # fmt: skip
_MOST_OF_ANY = 2**63 - 1
_DIGITS = 20


def _refuse_absurd(options: object) -> None:
    """Raise ValueError if a whole number is larger than anybody means."""
    if not is_dataclass(options):
        return
    for entry in fields(options):
        value = getattr(options, entry.name)
        most = _MOST.get(entry.name, _MOST_OF_ANY)
        for given in value if isinstance(value, tuple) else (value,):
            # Some are words as well: a number or auto, numbers with commas between them.
            for text in str(given).split(",") if isinstance(given, int) or entry.name in _MOST else ():
                digits = text.strip().removeprefix("-")
                if digits.isdecimal() and (len(digits) > _DIGITS or int(digits) > most):
                    shown = digits if len(digits) <= _DIGITS else f"a number of {len(digits)} digits"
                    raise ValueError(f"--{entry.name.replace('_', '-')} is {shown}, but must be at most {most}")
        _refuse_absurd(value)


@contextlib.contextmanager
def _wide() -> Iterator[None]:
    """Keep tyro from wrapping its messages, which become one line."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(_WIDE)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("COLUMNS", None)
        else:
            os.environ["COLUMNS"] = before


_RULES = {"─", "-"}


def _one_line(box: str) -> str:
    """The text of tyro's error box, without the frame, the colours and the repeated help text."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    rows = [row.strip("│| ").strip() for row in plain.splitlines()]
    if (
        len(rows) > 1 and rows[1] and set(rows[1]) <= _RULES
    ):  # in ASCII there is a title over a rule instead of a frame
        rows = rows[2:]
    parts: list[str] = []
    for row in rows:
        if row.startswith(("╭", "╰")):
            continue
        if row.startswith(("Argument helptext", "For full helptext", "Perhaps you meant", "Arguments similar to")):
            break
        if row and not set(row) <= _RULES:
            parts.append(row)
    text = " ".join(parts).replace(" ,", ",")
    if choice := re.search(r"invalid choice '(.*)' for argument '(\S+)'. Expected one of \((.*)\)", text):
        known = sorted(set(re.findall(r"'([^']*)'", choice[3])) - {"None"})
        return f"{choice[2]} {choice[1]!r} is unknown; {suggestion(choice[1], known)}"
    return text or "the arguments could not be read"


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
        words: values that it takes, or that begin one; empty where anything goes.
    """

    name: str
    metavar: str
    text: str
    group: str
    words: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        """Its spelling."""
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
        if paragraph.startswith("    "):  # commands, which are copied as they are
            lines += [row for command in paragraph.splitlines() for row in _continued(command.strip(), width)]
        else:
            lines += ["", *textwrap.wrap(" ".join(paragraph.replace("::", ":").split()), width)]
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


def _continued(command: str, width: int) -> list[str]:
    """A command in lines that end with a backslash, as a shell reads them."""
    rows = textwrap.wrap(
        command, width - 2, initial_indent="  ", subsequent_indent="      ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return [f"{row} \\" for row in rows[:-1]] + rows[-1:]


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
        kinds = [mark.kind for mark in marks if isinstance(mark, Names)]
        names = [_names(each) for each in kinds]
        words = (*_literals(kind), *(name for each in kinds for name in parts.parts_of(each)))
        text = " ".join([text, *names, *_shown(value, text)])
        where = "how to compute" if entry.name in _COMPUTING and not prefix else group
        if positional:
            metavar = entry.name.upper() if value is dataclasses.MISSING else f"[{entry.name.upper()}]"
            yield Flag("", metavar, text.strip(), "", words)
            continue
        name = f"{prefix}{entry.name}".replace("_", "-")
        yield Flag(
            f"--no-{name}" if kind is bool and value is True else f"--{name}",
            _metavar(kind),
            text.strip(),
            where,
            words,
        )


def _literals(kind: Any) -> tuple[str, ...]:
    """The values of a ``Literal``, alone or among others."""
    if get_origin(kind) is Literal:
        return tuple(str(each) for each in get_args(kind) if each is not None)
    return tuple(word for each in get_args(kind) for word in _literals(each))


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
