"""What can be asked for, as a list for people."""

from __future__ import annotations

from collections.abc import Mapping


def listed(entries: Mapping[str, str]) -> str:
    """A line for each name, with what it is in a column beside it."""
    width = max(map(len, entries))
    return "\n".join(f"  {name:<{width}}  {what}" for name, what in entries.items())
