"""Texts of docstrings on a class and its fields, for help and listings."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import re
import textwrap
from collections.abc import Mapping


def helps(cls: type) -> dict[str, str]:
    """The help of each field of a class and its bases: the text below it, or its entry in the docstring."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        found.update(_texts_below(each) if dataclasses.is_dataclass(each) else {})
        lines = (inspect.getdoc(each) or "").splitlines() if each.__dict__.get("__doc__") else []
        inside, name = False, ""
        for line in lines:
            if re.fullmatch(r"(Args|Attributes):", line):
                inside = True
            elif line and not line.startswith(" "):
                inside = False
            elif inside and (entry := re.match(r"    ([\w, ]+): (.*)", line)):
                name = entry[1]
                found.update(dict.fromkeys((each.strip() for each in name.split(",")), entry[2]))
            elif inside and name and line.startswith("        "):
                for key in (each.strip() for each in name.split(",")):
                    found[key] += f" {line.strip()}"
    return found


@functools.cache
def _texts_below(cls: type) -> Mapping[str, str]:
    """The texts that stand below the fields of a class, as its source has them."""
    try:
        (defined,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    found = {}
    for entry, below in itertools.pairwise(defined.body if isinstance(defined, ast.ClassDef) else []):
        if (
            isinstance(entry, ast.AnnAssign)
            and isinstance(entry.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[entry.target.id] = " ".join(below.value.value.split())
    return found


def plain_line(text: str) -> str:
    """A text in one line, without marks of reStructuredText."""
    return re.sub(r":\w+:`[~.]?([^`]*)`", r"\1", " ".join(text.split())).replace("``", "")
