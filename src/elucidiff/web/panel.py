"""The controls of one setting on the page: a list for each choice of sampling, and fields for what was chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from elucidiff.sampling.sampler import Sampler
from elucidiff.web.controls import Choice, Chosen, Field, choices, filled

_ALWAYS_SHOWN = ("steps", "solver", "churn")


class Panel:
    """The controls of one setting. Components are made where it is made, within ``gr.Blocks``.

    Every choice has as many places for fields as its largest part has settings; what a place asks for changes with
    the part. So all components are known beforehand, and what stands in them comes with every request.

    Args:
        name: of the setting, A or B.
        sampler: what they show at first.
    """

    def __init__(self, name: str, sampler: Sampler) -> None:
        self.name = name
        self._choices = choices()
        self._lists: dict[str, gr.Dropdown] = {}
        self._places: dict[str, list[tuple[gr.Textbox, gr.Dropdown | None]]] = {}
        shown = filled(sampler)
        for choice in self._choices:
            if choice.name in _ALWAYS_SHOWN:
                self._make(choice, shown[choice.name])
        with gr.Accordion("Schedule, restarts, guidance, clipping", open=False, elem_classes=["more"]):
            for choice in self._choices:
                if choice.name not in _ALWAYS_SHOWN:
                    self._make(choice, shown[choice.name])

    @property
    def components(self) -> list[Any]:
        """All of them, in the order in which functions get their values."""
        return [component for choice in self._choices for component in self._of(choice.name)]

    def read(self, values: Sequence[Any]) -> dict[str, Chosen]:
        """What was chosen, from the values of :attr:`components`."""
        left, found = list(values), {}
        for choice in self._choices:
            name, *rest = (left.pop(0) for _ in self._of(choice.name))
            option = choice.options.get(str(name))
            texts = {}
            for field, (text, listed) in zip(
                option.fields if option else (), self._values(choice, rest), strict=False
            ):
                texts[field.name] = str((listed if field.options else text) or "")
            found[choice.name] = Chosen(str(name), texts)
        return found

    def fields(self, values: Sequence[Any]) -> list[str]:
        """What each component asks for with these values, as mistakes name it: ``solver``, ``solver.order``."""
        left, names = list(values), []
        for choice in self._choices:
            chosen, *_ = (left.pop(0) for _ in self._of(choice.name))
            option = choice.options.get(str(chosen))
            names.append(choice.name)
            for place, (_, listed) in enumerate(self._places[choice.name]):
                field = option.fields[place] if option and place < len(option.fields) else None
                name = "" if field is None else f"{choice.name}.{field.name}"
                names.append("" if field is not None and field.options else name)
                if listed is not None:
                    names.append(name if field is not None and field.options else "")
        return names

    def showing(self, sampler: Sampler) -> list[Any]:
        """Updates of :attr:`components` that show a sampler."""
        shown, updates = filled(sampler), []
        for choice in self._choices:
            chosen = shown[choice.name]
            updates.append(gr.update(value=chosen.option, info=_info(choice, chosen.option)))
            updates += self._updates(choice, chosen)
        return updates

    def listen(self) -> None:
        """Show the fields of a part when somebody chooses it."""
        for choice in self._choices:
            chosen, *places = self._of(choice.name)

            def show(name: str, choice: Choice = choice) -> list[Any]:
                fields = choice.options[name].fields
                texts = {field.name: field.text for field in fields}
                return [gr.update(info=_info(choice, name)), *self._updates(choice, Chosen(name, texts))]

            # Not `change`, which a program's own updates cause, too.
            chosen.input(
                show, chosen, [chosen, *places], queue=False, show_progress="hidden", api_visibility="private"
            )

    def _make(self, choice: Choice, chosen: Chosen) -> None:
        with gr.Group(elem_classes=["choice"]):
            self._lists[choice.name] = gr.Dropdown(
                list(choice.options), value=chosen.option, label=choice.name.capitalize(),
                info=_info(choice, chosen.option), filterable=False, elem_id=f"{self.name}-{choice.name}",
            )  # fmt: skip
            self._places[choice.name] = []
            fields = choice.options[chosen.option].fields
            with gr.Row(elem_classes=["fields"]):
                for place in range(choice.places):
                    every = [option.fields[place] for option in choice.options.values() if place < len(option.fields)]
                    field = fields[place] if place < len(fields) else None
                    value = "" if field is None else chosen.texts.get(field.name, field.text)
                    free, listed = field is not None and not field.options, field is not None and bool(field.options)
                    text = gr.Textbox(
                        value=value, label=_label(field), info=_help(field), visible=free, min_width=130, max_lines=1,
                        elem_id=f"{self.name}-{choice.name}-{place}",
                    )  # fmt: skip
                    menu = None
                    if any(each.options for each in every):
                        menu = gr.Dropdown(
                            list(field.options) if field is not None else [], value=value if listed else None,
                            label=_label(field), info=_help(field), visible=listed, min_width=130, filterable=False,
                            elem_id=f"{self.name}-{choice.name}-{place}-list",
                        )  # fmt: skip
                    self._places[choice.name].append((text, menu))

    def _of(self, name: str) -> list[Any]:
        pairs = [each for pair in self._places[name] for each in pair if each is not None]
        return [self._lists[name], *pairs]

    def _values(self, choice: Choice, values: Sequence[Any]) -> list[tuple[Any, Any]]:
        left, found = list(values), []
        for _, menu in self._places[choice.name]:
            text = left.pop(0)
            found.append((text, left.pop(0) if menu is not None else None))
        return found

    def _updates(self, choice: Choice, chosen: Chosen) -> list[Any]:
        fields, updates = choice.options[chosen.option].fields, list[Any]()
        for place, (_, menu) in enumerate(self._places[choice.name]):
            field = fields[place] if place < len(fields) else None
            value = "" if field is None else chosen.texts.get(field.name, field.text)
            labels: Mapping[str, Any] = {"label": _label(field), "info": _help(field)}
            free = field is not None and not field.options
            updates.append(gr.update(value=value if free else "", visible=free, **labels))
            if menu is not None:
                options = [] if field is None else list(field.options)
                updates.append(
                    gr.update(choices=options, value=value if options else None, visible=bool(options), **labels)
                )
        return updates


def _info(choice: Choice, option: str) -> str:
    found = choice.options.get(option)
    return choice.what if found is None or (not found.fields and option == "none") else found.summary


def _label(field: Field | None) -> str:
    return "" if field is None else field.name.replace("_", " ")


def _help(field: Field | None) -> str | None:
    """A few words on a field; `elucidiff parts` has the rest."""
    if field is None:
        return None
    told = re.split(r"[.;:(]", field.help, maxsplit=1)[0].strip()
    if field.search is not None:
        told = f"{told}. Try {field.search[0]:g} to {field.search[1]:g}."
    return told or None
