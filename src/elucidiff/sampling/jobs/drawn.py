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
        label: number of its class, or its label vector, or None.
        class_name: name of its class; empty without names.
    """

    name: str
    content: bytes
    seed: int
    nfe: float
    label: Label | None
    class_name: str = ""

    def facts(self) -> dict[str, Any]:
        """What is told about it in a record."""
        facts: dict[str, Any] = {"seed": self.seed, "file": self.name, "nfe": self.nfe}
        if self.label is not None:
            facts["label"] = self.label
        return {**facts, "class": self.class_name} if self.class_name else facts


def file_name(seed: int, suffix: str) -> str:
    """The file of the sample of a seed."""
    return f"{seed:08d}{suffix}"
