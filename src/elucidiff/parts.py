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

import dataclasses
import functools
import importlib
import inspect
import numbers
import pkgutil
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from elucidiff.docstrings import helps, plain_line
from elucidiff.plain_data import (
    can_be_spelled,
    plain_value,
    register_nested,
    shortened,
    split,
    typed_value,
    value_from_text,
    value_to_text,
    wanted,
)
from elucidiff.plugins import load_plugins
from elucidiff.suggest import suggestion

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

T = TypeVar("T")
C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class Kind:
    """A kind of part.

    Attributes:
        name: what it is called, such as ``solver``.
        what: what such a part decides, in a few words.
        base: its base class, as ``module:Class``.
        home: the module that has ours; of a package all modules are imported.
        bare: the part that settings without a name stand for, so that ``30`` can mean ``churn:amount=30``.

    >>> import elucidiff as ed
    >>> kind = ed.parts.KINDS["solver"]
    >>> kind.name, kind.base
    ('solver', 'elucidiff.solvers.base:Solver')
    """

    name: str
    what: str
    base: str
    home: str
    bare: str | None = None

    @functools.cached_property
    def type(self) -> type:
        """The base class."""
        module, _, name = self.base.partition(":")
        found: type = getattr(importlib.import_module(module), name)
        return found


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("solver", "how a sampling step is taken", "elucidiff.solvers.base:Solver", "elucidiff.solvers"),
        Kind("schedule", "sigma(t) and s(t)", "elucidiff.design.schedules:Schedule", "elucidiff.design.schedules"),
        Kind("steps", "how noise levels are spaced", "elucidiff.design.steps:Steps", "elucidiff.design.steps"),
        Kind(
            "churn",
            "noise added at every step",
            "elucidiff.sampling.churn:Churn",
            "elucidiff.sampling.churn",
            "churn",
        ),
        Kind(
            "restart",
            "parts of a run to repeat",
            "elucidiff.sampling.churn:Restart",
            "elucidiff.sampling.churn",
            "restart",
        ),
        Kind(
            "guidance",
            "how samples are led away from a worse model",
            "elucidiff.denoisers.guided:Guidance",
            "elucidiff.denoisers.guided",
            "guidance",
        ),
        Kind(
            "preconditioning",
            "how a network becomes a denoiser",
            "elucidiff.design.preconditioning:Preconditioning",
            "elucidiff.design.preconditioning",
        ),
        Kind(
            "objective",
            "noise levels and weights of training",
            "elucidiff.design.objectives:Objective",
            "elucidiff.design.objectives",
        ),
        Kind(
            "training noise",
            "the distribution of noise levels in training",
            "elucidiff.design.training_noise:TrainingNoise",
            "elucidiff.design.training_noise",
        ),
        Kind(
            "metric",
            "how good images are, from their features",
            "elucidiff.evaluation.quality.metrics:Metric",
            "elucidiff.evaluation.quality.metrics",
        ),
        Kind(
            "feature extractor",
            "what describes images by numbers",
            "elucidiff.evaluation.quality.extractors:FeatureExtractor",
            "elucidiff.evaluation.quality",
        ),
        Kind(
            "figure",
            "what is drawn, measured first or not",
            "elucidiff.figures.base:FigurePart",
            "elucidiff.figures",
        ),
        Kind(
            "format",
            "in what other people's models are kept",
            "elucidiff.denoisers.opening:Format",
            "elucidiff.interop",
        ),
        Kind("verb", "what the command line can do", "elucidiff.cli.common.verbs:Verb", "elucidiff.cli.common.verbs"),
        Kind("network", "the network F", "elucidiff.networks.base:NetworkPart", "elucidiff.networks"),
        Kind(
            "learning rate schedule",
            "the learning rate after the ramp",
            "elucidiff.training.learning_rate:LearningRateSchedule",
            "elucidiff.training.learning_rate",
        ),
        Kind(
            "augmentation",
            "how training images are changed",
            "elucidiff.augment.base:Augmentation",
            "elucidiff.augment",
            "non_leaking",
        ),
    )
}
"""The kinds of parts, by name."""

_PARTS: dict[str, dict[str, type]] = {name: {} for name in KINDS}
_SETTINGS: dict[type, tuple[Setting, ...]] = {}
_MARK = "__part__"


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
        other = _PARTS[known.name].get(name)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            # The name is the library's, even if a plugin was imported before the library's own room.
            yours, taken = (other, cls) if _is_ours(cls) and not _is_ours(other) else (cls, other)
            raise ValueError(
                f"there is a {known.name} {name!r} already, {taken.__module__}.{taken.__qualname__}: "
                f"choose another name for {yours.__module__}.{yours.__qualname__}"
            )
        _check_arguments(cls, _called(known, name))
        setattr(cls, _MARK, (known.name, name))
        _PARTS[known.name][name] = cls
        return cls

    return register


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def kind_named(kind: str) -> Kind:
    """The kind of that name; hyphens and underscores count as spaces.

    Raises:
        ValueError: there is none; the nearest is suggested.

    >>> import elucidiff as ed
    >>> ed.parts.kind_named("training-noise").name
    'training noise'
    >>> ed.parts.kind_named("solvr")
    Traceback (most recent call last):
        ...
    ValueError: there is no kind of part 'solvr'; did you mean 'solver'?
    """
    name = re.sub(r"[-_]", " ", kind.strip().lower())
    if name not in KINDS:
        raise ValueError(f"there is no kind of part {kind!r}; {suggestion(name, KINDS)}")
    return KINDS[name]


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
    return dict(_PARTS[known.name])


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
    if name not in _PARTS[known.name]:
        load_plugins()
    if name not in _PARTS[known.name]:
        raise ValueError(
            f"there is no {known.name} {name!r}; {suggestion(name, _PARTS[known.name])} "
            "(a part of your own needs its module: --plugin MODULE)"
        )
    return _PARTS[known.name][name]


def name_of(value: object) -> str:
    """The name under which the class of ``value`` is registered.

    Raises:
        ValueError: it is not registered; the message says how to.

    >>> import elucidiff as ed
    >>> ed.parts.name_of(ed.solvers.Heun())
    'heun'
    """
    mark = type(value).__dict__.get(_MARK)
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


def parse(kind: str, text: str, like: object | None = None) -> Any:
    """The part that ``text`` spells: ``NAME`` or ``NAME:SETTING,...``, each ``key=value`` or, in order, a value.

    Tuples are written ``80/10/1/0``, no value ``none``, a part within a part in parentheses. Of kinds with only one
    sensible part the name may be left out: ``30,sigma_min=0.01`` is churn. The inverse of :func:`to_text`.

    Args:
        kind: the kind.
        text: what is to be read.
        like: a part that has the settings that are left out, as far as it knows them; by default each has its own.

    Raises:
        ValueError: no such part or setting, or a value of the wrong type or out of its range.

    >>> import elucidiff as ed
    >>> ed.parts.parse("churn", "30,sigma_min=0.05").amount
    30.0
    """
    known = kind_named(kind)
    name, colon, rest = text.strip().partition(":")
    if (known.bare is not None and not colon and not re.fullmatch(r"[A-Za-z]\w*", name)) or (
        known.bare is not None and re.match(r"[\w.]+=|[\d.+-]", name)
    ):
        name, rest = known.bare, text
    name = name.strip()
    cls = find(known.name, name)
    spelled = settings(cls)
    values: dict[str, Any] = {}
    for place, entry in enumerate(split(rest, ",") if rest.strip() else []):
        key, equals, value = entry.partition("=")
        if not equals:
            if place >= len(spelled) or len(values) < place:
                raise ValueError(f"{known.name} {text!r}: write {entry.strip()!r} as a setting, NAME=VALUE")
            key, value = spelled[place].name, entry
        key = key.strip().replace("-", "_")
        chosen = next((each for each in spelled if each.name == key), None)
        if chosen is None:
            raise ValueError(f"{_called(known, name)} {_no_setting(key, spelled)}")
        if key in values:
            raise ValueError(f"{known.name} {text!r} sets {key} twice")
        values[key] = value_from_text(chosen.type, value.strip(), f"{key} of {_called(known, name)}")
    if like is not None:
        shared = {each.name for each in settings(type(like))} & {each.name for each in spelled}
        values = {each: getattr(like, each) for each in shared} | values
    return _made(cls, values, _called(known, name))


def to_text(value: object) -> str:
    """The text form of a part, settings at their defaults left out; :func:`parse` reads it.

    Raises:
        ValueError: it is not registered, or holds what no text can spell.

    >>> import elucidiff as ed
    >>> ed.parts.to_text(ed.solvers.IPNDM(order=3))
    'ipndm:order=3'
    """
    name = name_of(value)
    _check_spelled(value)
    written = [
        f"{each.name}={value_to_text(getattr(value, each.name), each.type)}"
        for each in settings(type(value))
        if each.default is dataclasses.MISSING or getattr(value, each.name) != each.default
    ]
    return f"{name}:{','.join(written)}" if written else name


def to_plain(value: object) -> dict[str, Any]:
    """A part as JSON-able values: its name as "type", and all its settings; :func:`from_plain` reads it.

    Infinity, which JSON lacks, becomes "inf".

    Raises:
        ValueError: it is not registered, or holds what cannot be written.

    >>> import elucidiff as ed
    >>> ed.parts.to_plain(ed.solvers.IPNDM(order=3))
    {'type': 'ipndm', 'order': 3}
    """
    name = name_of(value)
    _check_spelled(value)
    return {
        "type": name,
        **{each.name: plain_value(getattr(value, each.name), each.type) for each in settings(type(value))},
    }


def from_plain(kind: str, values: object) -> Any:
    """The part that :func:`to_plain` wrote; settings that are left out have their defaults.

    Raises:
        ValueError: it is no such form, no such part or setting is known, or a value is of the wrong type or range.

    >>> import elucidiff as ed
    >>> ed.parts.from_plain("solver", {"type": "ipndm"})
    IPNDM(order=4)
    """
    known = kind_named(kind)
    if isinstance(values, Mapping) and known.bare is not None:
        values = {"type": known.bare, **values}
    if not isinstance(values, Mapping) or not isinstance(values.get("type"), str):
        raise ValueError(f"{values!r} does not describe a {known.name}: it has no type")
    name = values["type"]
    cls = find(known.name, name)
    spelled = {each.name: each for each in settings(cls)}
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key == "type":
            continue
        if key not in spelled:
            raise ValueError(f"{_called(known, name)} {_no_setting(str(key), list(spelled.values()))}")
        arguments[key] = typed_value(spelled[key].type, value, f"{key} of {_called(known, name)}")
    return _made(cls, arguments, _called(known, name))


def resolve(kind: str, value: Any) -> Any:
    """The part that ``value`` means: a part itself, a name or text form, or a plain form.

    Raises:
        TypeError: it is none of these.
        ValueError: a text or plain form means no part.

    >>> import elucidiff as ed
    >>> ed.parts.resolve("solver", "heun") == ed.parts.resolve("solver", ed.solvers.Heun())
    True
    """
    known = kind_named(kind)
    if isinstance(value, str):
        return parse(known.name, value)
    if isinstance(value, type):
        raise TypeError(f"{known.name} is the class {value.__name__}: give an object, such as {value.__name__}()")
    mark = getattr(type(value), _MARK, None)
    if isinstance(value, known.type) or (mark is not None and mark[0] == known.name):
        return value
    if isinstance(value, Mapping):
        return from_plain(known.name, value)
    if known.bare is not None and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return find(known.name, known.bare)(value)
    raise TypeError(
        f"{known.name} is {shortened(value)}, but must be a {known.type.__name__}, or a text such as "
        f"{next(iter(_PARTS[known.name]), 'NAME')!r}"
    )


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
    return kind is str or origin is Literal or _kind_of(kind) is not None


def _check_spelled(value: object) -> None:
    """Raise ValueError if a field that no text can spell is not at its default."""
    spelled = {each.name for each in settings(type(value))}
    for entry in dataclasses.fields(value):  # type: ignore[arg-type]
        if entry.init and entry.name not in spelled and getattr(value, entry.name) is not entry.default:
            raise ValueError(f"{entry.name} of {type(value).__name__} cannot be written: only its default can")


def _made(cls: type, values: Mapping[str, Any], what: str) -> Any:
    missing = [each.name for each in settings(cls) if each.default is dataclasses.MISSING and each.name not in values]
    if missing:
        raise ValueError(f"{what} needs {missing[0]}: write {missing[0]}=VALUE")
    return cls(**values)


def _called(kind: Kind, name: str) -> str:
    """The name of a part in messages."""
    return name if kind.name == name else f"{kind.name} {name}"


def _no_setting(key: str, spelled: Sequence[Setting]) -> str:
    names = [each.name for each in spelled]
    return f"has no setting {key!r}; {suggestion(key, names)}" if names else f"has no settings, but {key!r} is set"


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


def _kind_of(annotation: Any) -> Kind | None:
    """The kind of part that a field so annotated holds."""
    if not isinstance(annotation, type) or annotation in (int, float, bool, str):
        return None
    names = {f"{each.__module__}:{each.__qualname__}" for each in annotation.__mro__}
    return next((kind for kind in KINDS.values() if kind.base in names), None)


class _Parts:
    """Parts within dataclasses, as :class:`.Nested` reads and writes them."""

    def reads(self, annotation: Any) -> bool:
        return _kind_of(annotation) is not None

    def writes(self, value: object) -> bool:
        return _MARK in type(value).__dict__

    def from_plain(self, annotation: Any, value: Any) -> Any:
        return resolve(self._name(annotation), value)

    def from_text(self, annotation: Any, text: str) -> Any:
        return parse(self._name(annotation), text)

    def to_plain(self, value: object) -> dict[str, Any]:
        return to_plain(value)

    def to_text(self, value: object) -> str:
        return to_text(value)

    def _name(self, annotation: Any) -> str:
        kind = _kind_of(annotation)
        assert kind is not None  # reads() said so
        return kind.name


register_nested(_Parts())
