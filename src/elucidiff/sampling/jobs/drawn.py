"""A sample on its way from the solver into a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Label = int | list[float]


@dataclass(frozen=True)
class Drawn:
    """One sample.

    Attributes:
        name: of its file: the seed in at least eight digits, and ``.png`` or ``.npy``.
        content: the bytes of that file.
        seed: its seed.
        nfe: network evaluations that it took.
        label: its class or label vector, or None.
    """

    name: str
    content: bytes
    seed: int
    nfe: float
    label: Label | None

    def facts(self) -> dict[str, Any]:
        """What is told about it in a record."""
        facts: dict[str, Any] = {"seed": self.seed, "file": self.name, "nfe": self.nfe}
        return facts if self.label is None else {**facts, "label": self.label}


def file_name(seed: int, suffix: str) -> str:
    """The file of the sample of a seed."""
    return f"{seed:08d}{suffix}"
