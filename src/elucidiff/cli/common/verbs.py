"""Verbs: those with actions of their own, with usage and names that are unknown; and those that a plugin brings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from elucidiff.suggest import suggestion
from elucidiff.untrusted import clipped


class Verb(ABC):
    """A verb: its fields are its flags, with the text below each as help, and :meth:`run` does the work.

    A field annotated ``tyro.conf.Positional[...]`` is no flag but an argument. A ``ValueError`` or ``OSError`` that
    :meth:`run` raises becomes one line and exit code 2.
    """

    @abstractmethod
    def run(self) -> int | None:
        """Do it; returns the exit code, None for 0."""


T = TypeVar("T")


@dataclass(frozen=True)
class Actions:
    """The actions of a program, or of one of its verbs.

    Args:
        prog: the words before an action, such as "elucidiff data".
        what: an action is called: a verb, an action, a table, a figure.
        known: what each does, in a few words, by its name.
        heading: above the list of them.
        footer: at the end of the usage; by default where to read more.
        hint: what else to say of a name that is unknown.
    """

    prog: str
    what: str
    known: Mapping[str, str]
    heading: str = ""
    footer: str = ""
    hint: str = ""

    def choose(self, words: Sequence[str]) -> tuple[str, list[str]]:
        """The action that is asked for, and the words after it.

        Raises:
            SystemExit: help was asked for and is printed (code 0), or there are no words at all (2).
            ValueError: there is no such action; the nearest is suggested.
        """
        if not words or words[0] in ("-h", "--help", "help"):
            print(self._usage())
            raise SystemExit(0 if words else 2)
        name, *rest = words
        if name not in self.known:
            hint = f" ({self.hint})" if self.hint else ""
            raise ValueError(f"unknown {self.what} '{clipped(name)}'; {suggestion(name[:100], self.known)}{hint}")
        return name, rest

    def parse(self, options: type[T], name: str, rest: Sequence[str]) -> T:
        """Fill the options of an action; see :func:`.arguments.parse`."""
        from elucidiff.cli.common.arguments import parse  # takes a moment, and names are checked before

        return parse(options, rest, prog=f"{self.prog} {name}")

    def made(self, kinds: Mapping[str, type[T]], words: Sequence[str]) -> T:
        """The filled options of the action that is asked for, of ``kinds`` by name; see :meth:`choose`."""
        name, rest = self.choose(words)
        return self.parse(kinds[name], name, rest)

    def _usage(self) -> str:
        shown = self.what.upper()
        footer = self.footer or f"`{self.prog} {shown} --help` explains each."
        heading = f"{self.heading}\n" if self.heading else ""
        return f"usage: {self.prog} {shown} [options]\n\n{heading}{listed(self.known)}\n\n{footer}"


def listed(entries: Mapping[str, str]) -> str:
    """A line for each name, with what it is in a column beside it."""
    width = max(map(len, entries))
    return "\n".join(f"  {name:<{width}}  {what}" for name, what in entries.items())
