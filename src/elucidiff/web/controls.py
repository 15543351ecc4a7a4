"""The choices of sampling as fields to fill in, made of the parts' own declarations, plugins' included."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from elucidiff import parts
from elucidiff.parts import Setting
from elucidiff.plain_data import value_from_text, value_to_text
from elucidiff.sampling.sampler import KINDS, Sampler, parse_choice
from elucidiff.web.request import Mistake, MistakesError

NONE = "none"
"""Chosen where a part is left out."""


@dataclass(frozen=True)
class Field:
    """One setting of a part, to be filled in as a text.

    Attributes:
        name: of the setting.
        type: its annotation.
        help: what it is for.
        text: its default; empty if it needs a value.
        options: the texts to choose from; empty if it is free.
        search: lowest and highest value that are worth trying, or None.
    """

    name: str
    type: Any
    help: str
    text: str
    options: tuple[str, ...]
    search: tuple[float, float] | None


@dataclass(frozen=True)
class Option:
    """A part to choose.

    Attributes:
        name: of the part; :data:`NONE` for none.
        summary: what it is, in a line.
        fields: its settings.
    """

    name: str
    summary: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Choice:
    """A choice of a sampler.

    Attributes:
        name: ``steps``, ``solver`` and so on, as :data:`.KINDS` has them.
        what: what it decides, in a few words.
        options: by name, in the order of their declaration.
    """

    name: str
    what: str
    options: Mapping[str, Option]

    @property
    def places(self) -> int:
        """The most fields that an option has."""
        return max(len(option.fields) for option in self.options.values())


@dataclass(frozen=True)
class Chosen:
    """An option, and the texts in its fields."""

    option: str
    texts: Mapping[str, str]


def choices() -> tuple[Choice, ...]:
    """All choices of a sampler, in their order.

    >>> by_name = {choice.name: choice for choice in choices()}
    >>> "ipndm" in by_name["solver"].options, list(by_name["churn"].options)
    (True, ['none', 'churn'])
    >>> [field.name for field in by_name["solver"].options["rk2"].fields]
    ['alpha']
    """
    signature = inspect.signature(Sampler.__init__).parameters
    found = []
    for name, kind in KINDS.items():
        options = {each: _option(each, cls) for each, cls in parts.parts_of(kind).items()}
        if "None" in str(signature[name].annotation):
            options = {NONE: Option(NONE, "left out", ()), **options}
        found.append(Choice(name, parts.KINDS[kind].what, options))
    return tuple(found)


def filled(sampler: Sampler) -> dict[str, Chosen]:
    """The options and texts that spell a sampler; :func:`sampler_from` reads them.

    >>> filled(Sampler(solver="rk2:alpha=0.5"))["solver"]
    Chosen(option='rk2', texts={'alpha': '0.5'})
    """
    found = {}
    for name in KINDS:
        part = getattr(sampler, name)
        if part is None:
            found[name] = Chosen(NONE, {})
            continue
        spelled = parts.settings(type(part))
        texts = {each.name: value_to_text(getattr(part, each.name), each.type) for each in spelled}
        found[name] = Chosen(parts.name_of(part), texts)
    return found


def sampler_from(chosen: Mapping[str, Chosen]) -> Sampler:
    """The sampler that options and texts spell; what is left out has its default.

    Raises:
        MistakesError: with all fields that are wrong; or, if each is right by itself, what does not go together.
    """
    made: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    for name, each in chosen.items():
        try:
            made[name] = _part(name, each)
        except MistakesError as error:
            mistakes += error.mistakes
    if mistakes:
        raise MistakesError(mistakes)
    try:
        return Sampler(**made)
    except (TypeError, ValueError) as error:
        raise MistakesError([Mistake(field_meant(str(error)), str(error))]) from None


def field_meant(text: str) -> str:
    """The choice that a message is about: the rarest that it names, since it is what somebody has added."""
    rare = ("restarts", "churn", "guidance", "clip", "schedule", "steps")
    # The numbers of steps are in many messages.
    return next((name for name in rare if re.search(rf"\b{name}\b", text)), "solver")


def _option(name: str, cls: type) -> Option:
    return Option(name, parts.summary(cls), tuple(map(_field, parts.settings(cls))))


def _field(setting: Setting) -> Field:
    needed = setting.default is dataclasses.MISSING
    text = "" if needed else value_to_text(setting.default, setting.type)
    help_ = setting.help[:1].upper() + setting.help[1:]
    if get_origin(setting.type) is tuple:
        help_ = f"{help_.rstrip('.')}, written A/B/C"
    return Field(
        setting.name, setting.type, help_, text, _options(setting.type), setting.search and setting.search[:2]
    )


def _options(annotation: Any) -> tuple[str, ...]:
    if annotation is bool:
        return ("true", "false")
    if get_origin(annotation) is Literal:
        return tuple(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [each for each in get_args(annotation) if each is not type(None)]
        found = _options(inner[0]) if len(inner) == 1 else ()
        return (*found, NONE) if found else ()
    return ()


def _part(name: str, chosen: Chosen) -> Any:
    """The part that was chosen, or None.

    Raises:
        MistakesError: a text is wrong.
    """
    if chosen.option == NONE:
        return None
    try:
        fields = _option(chosen.option, parts.find(KINDS[name], chosen.option)).fields
    except ValueError as error:
        raise MistakesError([Mistake(name, str(error))]) from None
    words, mistakes = [], []
    for field in fields:
        text = chosen.texts.get(field.name, "").strip() or field.text
        if not text:
            mistakes.append(Mistake(f"{name}.{field.name}", f"{field.name} needs a value"))
        elif text != field.text:
            try:
                value = value_from_text(field.type, text, field.name)
            except ValueError as error:
                mistakes.append(Mistake(f"{name}.{field.name}", str(error)))
            else:
                words.append(f"{field.name}={value_to_text(value, field.type)}")
    if mistakes:
        raise MistakesError(mistakes)
    try:
        return parse_choice(name, f"{chosen.option}:{','.join(words)}" if words else chosen.option)
    except (TypeError, ValueError) as error:
        raise MistakesError([Mistake(_setting_meant(name, fields, str(error)), str(error))]) from None


def _setting_meant(name: str, fields: Sequence[Field], text: str) -> str:
    """The setting that a message is about, or the choice itself."""
    found = next((field.name for field in fields if re.search(rf"\b{field.name}\b", text)), None)
    return name if found is None else f"{name}.{found}"
