"""Modules of other people that register parts: named by the user, never by a file.

Three ways to name them: ``--plugin MODULE`` on the command line, the environment variable ``ELUCIDIFF_PLUGINS``
(separated as paths are), which processes that are started inherit, and the entry-point group ``elucidiff.plugins`` of
installed packages. A module is ``package.module``, looked for in the working folder too, or the path of a file.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from elucidiff.untrusted import printable

VARIABLE = "ELUCIDIFF_PLUGINS"
GROUP = "elucidiff.plugins"


def use_plugins(modules: Sequence[str]) -> None:
    """Import ``modules`` now, and let processes that this one starts import them too.

    Raises:
        ValueError: one cannot be imported; the message says why, in one line.
    """
    named = [_absolute(name) for name in modules]
    for name in named:
        imported(name)
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
            imported(name)
    _load_installed()


def imported(name: str) -> ModuleType:
    """The module that the user names, imported once: ``package.module``, or the path of a ``.py`` file.

    Raises:
        ValueError: it cannot be imported; the message says why, in one line.
    """
    return _import(_absolute(name))


def named_by_user(name: str) -> ModuleType | None:
    """The plugin of this name, or the file of this stem, if the user named it; None if not.

    What a file says it needs is looked for here, so that no file has anything imported.

    Raises:
        ValueError: a plugin that the user named cannot be imported.
    """
    load_plugins()
    return next((module for each, module in _NAMED.items() if name in (each, Path(each).stem)), None)


def _absolute(name: str) -> str:
    return str(Path(name).resolve()) if name.endswith(".py") else name


@functools.cache
def _load_installed() -> None:
    for entry in importlib.metadata.entry_points(group=GROUP):
        _import(entry.module)


_NAMED: dict[str, ModuleType] = {}


@functools.cache
def _import(name: str) -> ModuleType:
    try:
        if name.endswith(".py"):
            module = _import_file(Path(name))
        else:
            _look_in(os.getcwd())
            module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name is not None
            and f"{name}.".startswith(f"{error.name}.")
        ):
            raise ValueError(
                f"there is no plugin {printable(name)}: name a module that Python finds, or a .py file"
            ) from None
        text = printable(" ".join(str(error).split()))
        raise ValueError(
            f"the plugin {printable(name)} cannot be imported: {type(error).__name__}: {text}"
        ) from error
    _NAMED[name] = module
    return module


def _import_file(file: Path) -> ModuleType:
    """Import a file as the module of its name, so that other processes find what they are sent of it.

    Where Python knows another module of that name, such as ``random``, it gets a name of its own.
    """
    if not file.is_file():
        raise ModuleNotFoundError(str(file), name=str(file))
    _look_in(str(file.parent))
    found = None
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        found = importlib.util.find_spec(file.stem)
    if found is not None and found.origin is not None and Path(found.origin).resolve() == file:
        return importlib.import_module(file.stem)
    name = f"{file.stem}_{zlib.crc32(os.fsencode(file)):08x}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _look_in(folder: str) -> None:
    """Let Python find modules in ``folder``, after all other places."""
    if folder not in sys.path:
        sys.path.append(folder)
