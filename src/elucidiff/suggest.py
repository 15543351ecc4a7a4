"""What a name that nobody knows was most likely meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
