"""Working with plugins in a folder, after which no path, module or part of theirs is left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from elucidiff import parts, plugins


@contextmanager
def nothing_left_behind(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in ``folder``, and forget afterwards whatever was imported from it."""
    patch.setattr(sys, "path", [*sys.path])
    patch.delenv(plugins.VARIABLE, raising=False)
    patch.chdir(folder)
    modules = set(sys.modules)
    yield
    plugins._import.cache_clear()
    os.environ.pop(plugins.VARIABLE, None)
    for name in set(sys.modules) - modules:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
            for found in parts.registry.PARTS.values():
                for key in [key for key, cls in found.items() if cls.__module__ == name]:
                    del found[key]
