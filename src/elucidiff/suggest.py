"""Suggestions for a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown ``name``: the nearest known one, or all of them if none is near.

    Case does not count.

    Args:
        name: what was asked for.
        known: what there is.
    """
    names = list(known)
    lower = {candidate.lower(): candidate for candidate in names}
    # With a lower cutoff short names suggest what has little to do with them.
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    return f"did you mean {lower[near[0]]!r}?" if near else f"known: {', '.join(names)}"


def names_in(names: str | Sequence[str]) -> list[str]:
    """Names, each once: from a list of them, or from a text with commas between them."""
    parts = names.split(",") if isinstance(names, str) else names
    return list(dict.fromkeys(name.strip() for name in parts if name.strip()))


def known_names(names: str | Sequence[str], known: Collection[str], flag: str, what: str = "metric") -> list[str]:
    """The same, all of which have to be known.

    Args:
        names: as for :func:`names_in`.
        known: what there is.
        flag: the option or argument that they are from.
        what: they are.

    Raises:
        ValueError: one is unknown, and the nearest is suggested; or there are none.
    """
    found = names_in(names)
    given = names if isinstance(names, str) else ",".join(names)
    for name in found:
        if name not in known:
            raise ValueError(f"--{flag} {given}: {name!r} is unknown; {suggestion(name, known)}")
    if not found:
        raise ValueError(f"--{flag} {given!r} names no {what}: choose some of {', '.join(known)}")
    return found
