"""Modules of other people that register parts: named by the user, never by a file.

Three ways to name them: ``--plugin MODULE`` on the command line, the environment variable ``ELUCIDIFF_PLUGINS``
(separated as paths are), which processes that are started inherit, and the entry-point group ``elucidiff.plugins`` of
installed packages. A module is ``package.module``, looked for in the working folder too, or the path of a file.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "ELUCIDIFF_PLUGINS"
GROUP = "elucidiff.plugins"


def use_plugins(modules: Sequence[str]) -> None:
    """Import ``modules`` now, and let processes that this one starts import them too.

    Raises:
        ValueError: one cannot be imported; the message says why, in one line.
    """
    named = [str(Path(name).resolve()) if name.endswith(".py") else name for name in modules]
    for name in named:
        _import(name)
    known = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    if named:
        os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys([*known, *named]))


def load_plugins() -> None:
    """Import what the environment variable and installed packages name, once.

    Raises:
        ValueError: one cannot be imported.
    """
    for name in os.environ.get(VARIABLE, "").split(os.pathsep):
        if name:
            _import(name)
    _load_installed()


@functools.cache
def _load_installed() -> None:
    for entry in importlib.metadata.entry_points(group=GROUP):
        _import(entry.module)


@functools.cache
def _import(name: str) -> None:
    try:
        if name.endswith(".py"):
            _import_file(Path(name))
            return
        folder = os.getcwd()
        added = folder not in sys.path
        if added:
            sys.path.insert(0, folder)
        try:
            importlib.import_module(name)
        finally:
            if added:
                sys.path.remove(folder)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name is not None and name.startswith(error.name):
            raise ValueError(f"there is no plugin {name!r}: name a module that Python finds, or a .py file") from None
        text = " ".join(str(error).split())
        raise ValueError(f"the plugin {name} cannot be imported: {type(error).__name__}: {text}") from error


def _import_file(file: Path) -> None:
    if not file.is_file():
        raise ModuleNotFoundError(str(file), name=str(file))
    module_name = file.stem
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    if getattr(sys.modules.get(module_name), "__file__", None) == str(file):
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(module_name, None)
        raise
