"""Whose folder is this: nothing is written among what belongs to other work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elucidiff.plain_data import first_difference


def holds_files(folder: Path) -> bool:
    """Whether there is anything in a folder. What is hidden does not count: it is the rest of something killed."""
    return folder.is_dir() and any(not file.name.startswith(".") for file in folder.iterdir())


def check_empty(folder: Path) -> None:
    """Raise ValueError if there are files in ``folder``, or it is a file itself."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: choose another --out")
    if holds_files(folder):
        raise ValueError(f"{folder} already holds files: choose another --out, or add --overwrite")


def check_same_work(
    folder: Path,
    what: str,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    remedy: str = "choose another --out, or add --overwrite",
) -> None:
    """Make sure that a folder holds the beginning of this very work.

    Args:
        folder: where.
        what: it holds otherwise, such as "another job".
        before: what decided the work that was begun there, JSON-able.
        now: what decides this one.
        remedy: what to do about it.

    Raises:
        ValueError: they differ; the message names the first difference.
    """
    difference = first_difference(before, now)
    if difference is not None:
        name, old, new = difference
        raise ValueError(f"{folder} holds {what}, whose {name} is {old}, not {new}: {remedy}")
