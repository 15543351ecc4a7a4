"""The parts there are, and the settings of each: registered by a decorator, found by name."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import itertools
import pkgutil
import re
import textwrap
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from elucidiff.parts.kinds import KINDS, called, kind_named, kind_of
from elucidiff.plain_data import can_be_spelled, typed_value, wanted
from elucidiff.plugins import load_plugins
from elucidiff.suggest import suggestion


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


C = TypeVar("C", bound=type)

PARTS: dict[str, dict[str, type]] = {name: {} for name in KINDS}
"""The parts that were imported, by kind and name."""

MARK = "__part__"
"""The attribute of a part's class with its kind and name."""

_SETTINGS: dict[type, tuple[Setting, ...]] = {}


def setting(
    default: Any = dataclasses.MISSING,
    *,
    search: tuple[float, float] | None = None,
    log: bool = False,
    **options: Any,
) -> Any:
    """A field of a part, with the range that a search draws from unless it is told another.

    Args:
        default: its value where none is given.
        search: the lowest and the highest value that are worth trying.
        log: whether they are spread, and drawn, by their logarithm.
        options: passed on to :func:`dataclasses.field`, such as ``kw_only``.

    >>> import elucidiff as ed
    >>> {setting.name: setting.search for setting in ed.parts.settings(ed.Churn)}["amount"]  # not by its logarithm
    (0.0, 100.0, False)
    """
    metadata = {} if search is None else {"search": (*search, log)}
    return field(default=default, metadata=metadata, **options)


@dataclass(frozen=True)
class Setting:
    """One setting of a part.

    Attributes:
        name: of the field.
        type: its annotation, resolved.
        default: its default, or ``dataclasses.MISSING``.
        help: its entry in the docstring, as one line.
        search: lowest and highest value of a search, and whether these are spread by their logarithm; or None.

    >>> import elucidiff as ed
    >>> [alpha] = ed.parts.settings(ed.solvers.RK2)
    >>> alpha.name, alpha.default
    ('alpha', 1.0)
    """

    name: str
    type: Any
    default: Any
    help: str
    search: tuple[float, float, bool] | None


def part(kind: str, name: str) -> Callable[[C], C]:
    """Register a frozen dataclass as the part ``name`` of its ``kind``; a class decorator.

    Values of a wrong type are then refused when an object is made, in one line.

    Args:
        kind: one of :data:`KINDS`, such as ``"solver"``.
        name: lower-case letters, digits and underscores.

    Raises:
        ValueError: there is no such kind, the name cannot be one, or another part has it.
        TypeError: the class is no frozen dataclass, or not of the kind's base class.

    >>> import elucidiff as ed
    >>> from dataclasses import dataclass
    >>> @ed.part("solver", "example_euler")
    ... @dataclass(frozen=True)
    ... class ExampleEuler(ed.solvers.Solver):
    ...     "Euler's method with steps that are scaled."
    ...     factor: float = ed.parts.setting(1.0, search=(0.9, 1.1))
    ...
    ...     def step(self, ode, x, t, t_next, state=None):
    ...         denoised = ode.denoise(x, t)
    ...         return ed.solvers.StepResult(x + self.factor * (t_next - t) * ode.velocity(x, t, denoised), denoised)
    ...
    >>> ed.parts.parse("solver", "example_euler:factor=0.95")
    ExampleEuler(factor=0.95)
    """
    known = kind_named(kind)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name!r} cannot name a {known.name}: use lower-case letters, digits and underscores")

    def register(cls: C) -> C:
        parameters = getattr(cls, "__dataclass_params__", None)
        if parameters is None or not parameters.frozen:
            raise TypeError(f"{cls.__name__} must be a frozen dataclass: write @dataclass(frozen=True) below @part")
        other = PARTS[known.name].get(name)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            # The name is the library's, even if a plugin was imported before the library's own room.
            yours, taken = (other, cls) if _is_ours(cls) and not _is_ours(other) else (cls, other)
            raise ValueError(
                f"there is a {known.name} {name!r} already, {taken.__module__}.{taken.__qualname__}: "
                f"choose another name for {yours.__module__}.{yours.__qualname__}"
            )
        _check_arguments(cls, called(known, name))
        setattr(cls, MARK, (known.name, name))
        PARTS[known.name][name] = cls
        return cls

    return register


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def parts_of(kind: str) -> Mapping[str, type]:
    """All parts of a kind by name, plugins' included.

    Raises:
        ValueError: there is no such kind, or a plugin cannot be imported.

    >>> import elucidiff as ed
    >>> "heun" in ed.parts.parts_of("solver")
    True
    """
    known = kind_named(kind)
    _import_home(known.home)
    load_plugins()
    return dict(PARTS[known.name])


def find(kind: str, name: str) -> type:
    """The class of a part.

    Raises:
        ValueError: there is none of that name; the message names the nearest, and how to add one's own.

    >>> import elucidiff as ed
    >>> ed.parts.find("solver", "heun") is ed.solvers.Heun
    True
    """
    known = kind_named(kind)
    _import_home(known.home)
    if name not in PARTS[known.name]:
        load_plugins()
    if name not in PARTS[known.name]:
        raise ValueError(
            f"there is no {known.name} {name!r}; {suggestion(name, PARTS[known.name])} "
            "(a part of your own needs its module: --plugin MODULE)"
        )
    return PARTS[known.name][name]


def name_of(value: object) -> str:
    """The name under which the class of ``value`` is registered.

    Raises:
        ValueError: it is not registered; the message says how to.

    >>> import elucidiff as ed
    >>> ed.parts.name_of(ed.solvers.Heun())
    'heun'
    """
    mark = type(value).__dict__.get(MARK)
    if mark is None:
        raise ValueError(
            f"{type(value).__name__} has no name to be written by: register it with @ed.part(KIND, NAME)"
        )
    return str(mark[1])


def settings(cls: type) -> tuple[Setting, ...]:
    """The settings of a part in the order of its fields; what no text can spell, such as functions, is left out.

    >>> import elucidiff as ed
    >>> [each.name for each in ed.parts.settings(ed.solvers.IPNDM)]
    ['order']
    """
    if cls not in _SETTINGS:
        _SETTINGS[cls] = _settings(cls)
    return _SETTINGS[cls]


def _settings(cls: type) -> tuple[Setting, ...]:
    hints, told = get_type_hints(cls), helps(cls)
    return tuple(
        Setting(
            entry.name,
            hints[entry.name],
            entry.default if entry.default_factory is dataclasses.MISSING else entry.default_factory(),
            plain_line(told.get(entry.name, "")),
            entry.metadata.get("search"),
        )
        for entry in dataclasses.fields(cls)
        if entry.init and can_be_spelled(hints[entry.name])
    )


def summary(cls: type) -> str:
    """The first sentence or formula of a part's docstring, in one line, without marks of reStructuredText.

    >>> import elucidiff as ed
    >>> ed.parts.summary(ed.Churn)[:31]
    'Noise that is added before each'
    """
    return plain_line((inspect.getdoc(cls) or "").split("\n\n")[0]).rstrip(":")


def _check_arguments(cls: type, what: str) -> None:
    """Make the constructor of ``cls`` refuse values of a wrong type in one line, before it computes with them."""
    construct = cls.__init__  # type: ignore[misc]
    positional = [entry.name for entry in dataclasses.fields(cls) if entry.init and not entry.kw_only]

    @functools.wraps(construct)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        kinds = {each.name: each.type for each in settings(cls)}
        for name, value in [*zip(positional, args, strict=False), *kwargs.items()]:
            if name in kinds and not isinstance(value, str | Mapping):
                try:
                    typed_value(kinds[name], value, f"{name} of {what}")
                except ValueError as error:
                    raise TypeError(str(error)) from None
            elif isinstance(value, str) and name in kinds and not _takes_text(kinds[name]):
                raise TypeError(f"{name} of {what} is {value!r}, but must be {wanted(kinds[name])}")
        construct(self, *args, **kwargs)

    cls.__init__ = checked  # type: ignore[misc]


def _takes_text(kind: Any) -> bool:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return any(_takes_text(each) for each in get_args(kind))
    return kind is str or origin is Literal or kind_of(kind) is not None


@functools.cache
def _import_home(home: str) -> None:
    """Import the module or, of a package, all its modules, so that the parts there are registered."""
    module = importlib.import_module(home)
    for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
        try:
            importlib.import_module(f"{home}.{found.name}")
        except ModuleNotFoundError as error:  # of a library that only some need: they are told when they do
            if (error.name or "elucidiff").startswith("elucidiff"):
                raise
