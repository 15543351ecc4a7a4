"""What a verb of the command line is that a plugin brings."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Verb(ABC):
    """A verb: its fields are its flags, with the text below each as help, and :meth:`run` does the work.

    A field annotated ``tyro.conf.Positional[...]`` is no flag but an argument. A ``ValueError`` or ``OSError`` that
    :meth:`run` raises becomes one line and exit code 2.
    """

    @abstractmethod
    def run(self) -> int | None:
        """Do it; returns the exit code, None for 0."""
