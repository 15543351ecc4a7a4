"""Command lines from dataclasses, with every mistake told in one line."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import TypeVar

import tyro

from elucidiff.cli.common.help import flags_of, help_page
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
