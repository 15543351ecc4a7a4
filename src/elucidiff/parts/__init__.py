"""Parts: each a choice of the design space as one object, declared once.

A part is a frozen dataclass that :func:`part` registers under a kind and a name::

    @ed.part("solver", "euler_again")
    @dataclass(frozen=True)
    class EulerAgain(ed.solvers.Solver):
        \"""Euler's method, damped.

        Args:
            damping: how much of each step is taken.
        \"""

        damping: float = 1.0

        def step(self, ode, x, t, t_next, state=None): ...

Its fields, their types, their ranges (:func:`setting`) and their help (from the docstring) are all there is. From
them derive its text form (``euler_again:damping=0.5``), its plain form for JSON and YAML, its help on the command
line, the ranges of a search and the listings of ``elucidiff parts``. So adding a part touches one file, and a
stranger's part, in a module that the user names with ``--plugin``, works like ours.
"""

from __future__ import annotations

from elucidiff.parts.forms import from_plain, parse, resolve, to_plain, to_text
from elucidiff.parts.kinds import KINDS, Kind, kind_named
from elucidiff.parts.registry import Setting, find, name_of, part, parts_of, setting, settings, summary

__all__ = [
    "KINDS",
    "Kind",
    "Setting",
    "find",
    "from_plain",
    "kind_named",
    "name_of",
    "parse",
    "part",
    "parts_of",
    "resolve",
    "setting",
    "settings",
    "summary",
    "to_plain",
    "to_text",
]
