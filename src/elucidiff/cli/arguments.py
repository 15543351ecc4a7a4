"""Command lines from dataclasses, with every mistake told in one line."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

import tyro

from elucidiff.suggest import suggestion

T = TypeVar("T")


def parse(options: type[T], arguments: Sequence[str], *, prog: str, default: T | None = None) -> T:
    """Fill the dataclass ``options`` from ``arguments``, starting from ``default`` where one is given.

    Raises:
        ValueError: an unknown or malformed argument, in one line.
        SystemExit: ``--help`` was asked for and printed.
    """
    said = io.StringIO()
    try:
        with _wide_terminal(), contextlib.redirect_stderr(said):
            if default is None:
                return tyro.cli(options, args=list(arguments), prog=prog, config=_STYLE)
            return tyro.cli(options, args=list(arguments), prog=prog, default=default, config=_STYLE)
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        raise ValueError(f"{_one_line(said.getvalue())} (`{prog} --help` lists every option)") from None


# One way to write each flag: `--grid`, not also `--no-grid`.
_STYLE = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes)


@contextlib.contextmanager
def _wide_terminal() -> Iterator[None]:
    """Keep tyro from wrapping its messages in the middle of a sentence when nobody looks at a terminal."""
    before = os.environ.get("COLUMNS")
    if not sys.stdout.isatty():
        os.environ["COLUMNS"] = "200" if before is None else before
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("COLUMNS", None)


def _one_line(box: str) -> str:
    """The text of tyro's error box, without the frame, the colours and the repeated help text."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    rows = [row.strip("│ ").strip() for row in plain.splitlines()]
    parts: list[str] = []
    for row in rows:
        if row.startswith(("╭", "╰")):
            continue
        if row.startswith(("Argument helptext", "For full helptext")):
            break
        if row and not set(row) <= {"─"}:
            parts.append(row)
    # Candidates follow with their help: the first flag is what helps.
    for at, part in enumerate(parts):
        if part.startswith(("Perhaps you meant", "Arguments similar to")):
            flag = next((row.split()[0].rstrip(",") for row in parts[at + 1 :] if row.startswith("--")), "")
            parts = [*parts[:at], *([f"did you mean {flag}?"] if flag else [])]
            break
    text = " ".join(parts).replace(" ,", ",")
    if choice := re.search(r"invalid choice '(.*)' for argument '(\S+)'. Expected one of \((.*)\)", text):
        known = sorted(set(re.findall(r"'([^']*)'", choice[3])) - {"None"})
        return f"{choice[2]} {choice[1]!r} is unknown; {suggestion(choice[1], known)}"
    return text or "the arguments could not be read"
