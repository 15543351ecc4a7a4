"""The page: two settings beside each other, their samples as they are drawn, and how to draw them without it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from markupsafe import escape
from PIL import Image
from torch import Tensor

from elucidiff.data.scaling import is_picture
from elucidiff.denoisers.opening import samplers_of
from elucidiff.sampling import table
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.saved_samplers import load_named, names_beside
from elucidiff.web import digits, fragments
from elucidiff.web.controls import sampler_from
from elucidiff.web.engine import Explorer
from elucidiff.web.handling import Desk, Shown
from elucidiff.web.line import Line
from elucidiff.web.panel import Panel
from elucidiff.web.request import Begin, Mistake, MistakesError, Repaint, Request
from elucidiff.web.runs import Run

TITLE = "elucidiff explore"
STYLE = Path(__file__).with_name("page.css")

_USUAL = "as the model says"
_TITLES = {"vp": "VP (Table 1)", "ve": "VE (Table 1)", "iddpm": "iDDPM + DDIM (Table 1)", "edm": "EDM (Table 1)"}
_HIDDEN: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_PICKS = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-pick]");
  if (button) trigger("click", { row: Number(button.dataset.pick) });
});
"""
# Where there is no room beside the controls, samples are far below them.
_LOOK = "() => { if (innerWidth < 700) document.querySelector('.saying').scrollIntoView({ block: 'start' }); }"
_VARY, _REPAINT = "variations of it (SDEdit)", "paint anew what is brushed"
_CANVAS = 320  # pixels


class Page:
    """The page of one explorer.

    Args:
        explorer: draws.
        line: lets browsers in.
        run: the training behind the model, if there is one.
    """

    def __init__(self, explorer: Explorer, line: Line, run: Run | None = None) -> None:
        self.explorer, self.run = explorer, run
        self.desk = Desk(explorer, line)
        self.presets = _presets(explorer)
        self.panels: dict[str, Panel] = {}
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(300, 900), fill_width=True) as self.blocks:
            gr.HTML(_heading(explorer), elem_classes=["heading"])
            with gr.Tabs():
                with gr.Tab("Sample"):
                    self._sampling()
                if explorer.scaling.eight_bits and is_picture(explorer.loaded.sample_shape):
                    with gr.Tab("From a picture"):
                        self._pictures()
                if run is not None:
                    with gr.Tab("Training"):
                        self._training()
            self.blocks.unload(self._left)
        # The line before the explorer is ours: it is fair between browsers, and bounded.
        self.blocks.queue(max_size=None, default_concurrency_limit=None)

    def _sampling(self) -> None:
        with gr.Row(elem_classes=["columns"]):
            with gr.Column(scale=4, min_width=320, elem_classes=["controls"]):
                with gr.Row():
                    self.seeds = gr.Textbox(
                        "0-15", label="Seeds", info="One sample each: 0-15,40.", max_lines=1, min_width=140
                    )
                    self.labels = gr.Textbox(
                        "", label="Labels", info=_labels_info(self.explorer), max_lines=1, min_width=140,
                        visible=self.explorer.loaded.label_dim > 0,
                    )  # fmt: skip
                with gr.Row(elem_classes=["switches"]):
                    self.both = gr.Checkbox(False, label="Compare A with B", min_width=140)
                    self.exact = gr.Checkbox(
                        not any(True for _ in self.explorer.loaded.parameters()),
                        label="Compare with the exact solution", min_width=180,
                    )  # fmt: skip
                with gr.Row(elem_classes=["act"]):
                    go = gr.Button("Draw", variant="primary", min_width=100, elem_id="draw")
                    stop = gr.Button("Stop", variant="stop", min_width=80, elem_id="stop")
                with gr.Tabs():
                    for name, first in (("A", self.explorer.usual), ("B", _other(self.explorer.usual))):
                        with gr.Tab(f"Setting {name}"):
                            preset = gr.Dropdown(
                                list(self.presets), value=None, label="Begin with", filterable=False,
                                info="Fills in what follows.",
                            )  # fmt: skip
                            self.panels[name] = panel = Panel(name, first)
                            panel.listen()
                            preset.input(
                                lambda title, panel=panel: panel.showing(self.presets[title]),
                                preset, panel.components, queue=False, **_HIDDEN,
                            )  # fmt: skip
            with gr.Column(scale=7, min_width=320, elem_classes=["results"]):
                outputs = _outputs()
        inputs = [
            self.seeds, self.labels, self.both, self.exact,
            *self.panels["A"].components, *self.panels["B"].components,
        ]  # fmt: skip
        self.inputs = inputs
        # First: a click that is refused by the fields goes no further.
        go.click(self._explain, inputs, outputs[0], queue=False, **_HIDDEN)
        go.click(self._draw, inputs, outputs, validator=self._validate, concurrency_limit=None, **_HIDDEN)
        go.click(None, None, None, js=_LOOK, queue=False, api_visibility="private")
        self.seeds.submit(self._draw, inputs, outputs, validator=self._validate, concurrency_limit=None, **_HIDDEN)
        stop.click(self._stop, None, None, queue=False, **_HIDDEN)
        outputs[1].click(self._pick, None, outputs, queue=False, **_HIDDEN)

    def _pictures(self) -> None:
        with gr.Row(elem_classes=["columns"]):
            with gr.Column(scale=4, min_width=320):
                gr.HTML(
                    "<p class='note'>Upload a picture, or take the sample that was drawn first. The brush marks what "
                    "is to be painted anew. Setting A, seeds and labels are those of the first tab.</p>"
                )
                editor = gr.ImageEditor(
                    label="Picture", sources=("upload", "clipboard"), image_mode="RGBA", transforms=(), layers=False,
                    brush=gr.Brush(default_size=24, colors=["#D55E00", "#FFFFFF", "#000000"], color_mode="fixed"),
                    canvas_size=(_CANVAS, _CANVAS), fixed_canvas=True, height=420, buttons=[],
                )  # fmt: skip
                take = gr.Button("Take the first sample", size="sm")
                way = gr.Radio([_VARY, _REPAINT], value=_VARY, label="Draw")
                strength = gr.Slider(
                    0.05, 1, 0.5, step=0.05, label="Strength", info="Of variations: the share of the steps taken."
                )
                noise = gr.Textbox(
                    "0.01", label="Noise of what is known", info="Of painting: a grey level is 0.008.", max_lines=1
                )
                with gr.Row(elem_classes=["act"]):
                    go = gr.Button("Draw", variant="primary", min_width=100, elem_id="draw-picture")
                    stop = gr.Button("Stop", variant="stop", min_width=80)
            with gr.Column(scale=7, min_width=320, elem_classes=["results"]):
                outputs = _outputs()
        panel = self.panels["A"]
        inputs = [editor, way, strength, noise, self.seeds, self.labels, *panel.components]
        go.click(self._draw_from_picture, inputs, outputs, concurrency_limit=None, **_HIDDEN)
        stop.click(self._stop, None, None, queue=False, **_HIDDEN)
        take.click(self._take, None, editor, queue=False, **_HIDDEN)
        outputs[1].click(self._pick, None, outputs, queue=False, **_HIDDEN)

    def _training(self) -> None:
        shown = gr.HTML(self._trained())
        gr.Button("Look again", size="sm").click(self._trained, None, shown, queue=False, **_HIDDEN)

    # What a browser asks for.

    def _requests(self, values: Sequence[Any]) -> list[tuple[str, Request]]:
        """The settings that are asked for.

        Raises:
            MistakesError: their fields are wrong; those of B are named ``B.solver``.
        """
        seeds, labels, both, _, *rest = values
        split = len(self.panels["A"].components)
        # Whatever the settings are, so that all that is wrong is told at once.
        shared = self.explorer.check(Request(self.explorer.usual, str(seeds or ""), str(labels or "")))
        asked, mistakes = [], [each for each in shared if each.field in ("seeds", "labels")]
        for name, own in (("A", rest[:split]), ("B", rest[split:])):
            if name == "B" and not both:
                continue
            try:
                sampler = sampler_from(self.panels[name].read(own))
            except MistakesError as error:
                mistakes += _of(name, error.mistakes)
                continue
            request = Request(sampler, str(seeds or ""), str(labels or ""))
            mistakes += _of(name, self.explorer.check(request))
            asked.append((name, request))
        if mistakes:
            raise MistakesError(list(dict.fromkeys(mistakes)))
        return asked

    def _validate(self, *values: Any) -> list[Any]:
        """Says beside each field what is wrong with it, before anything waits or works."""
        try:
            self._requests(values)
        except MistakesError as error:
            wrong = {mistake.field: mistake.text for mistake in error.mistakes}
        else:
            wrong = {}
        split = len(self.panels["A"].components)
        rest = values[4:]
        names = ["seeds", "labels", "both", "exact"]
        names += [f"A.{name}" if name else "" for name in self.panels["A"].fields(rest[:split])]
        names += [f"B.{name}" if name else "" for name in self.panels["B"].fields(rest[split:])]
        return [gr.validate(name not in wrong, wrong.get(name, "")) for name in names]

    def _explain(self, *values: Any) -> Any:
        """The same in one place, as a closed section may hide the field."""
        try:
            self._requests(values)
        except MistakesError as error:
            return _refusal(error)
        return gr.skip()

    async def _draw(self, browser: gr.Request, *values: Any) -> AsyncIterator[tuple[Any, ...]]:
        try:
            asked = self._requests(values)
        except MistakesError as error:
            yield _updates(Shown(_refusal(error)))
            return
        async for shown in self._serve(browser, asked, compare=bool(values[3])):
            yield shown

    async def _draw_from_picture(
        self, browser: gr.Request, drawn: Any, way: str, strength: float, noise: str, *values: Any
    ) -> AsyncIterator[tuple[Any, ...]]:
        seeds, labels, *own = values
        try:
            sampler = sampler_from(self.panels["A"].read(own))
            source = _source(drawn, self.explorer.loaded.sample_shape, way, strength, noise)
            if isinstance(source, Repaint) and not labels and self.explorer.loaded.label_dim:
                labels = "uniform"  # nobody knows what it is of
            request = Request(sampler, seeds or "", labels or "", source)
            if mistakes := self.explorer.check(request):
                raise MistakesError(mistakes)
        except MistakesError as error:
            yield _updates(Shown(_refusal(error)))
            return
        async for shown in self._serve(browser, [("A", request)], compare=False):
            yield shown

    async def _serve(
        self, browser: gr.Request, asked: Sequence[tuple[str, Request]], *, compare: bool
    ) -> AsyncIterator[tuple[Any, ...]]:
        async for shown in self.desk.serve(_who(browser), asked, compare=compare):
            yield _updates(shown)

    def _stop(self, browser: gr.Request) -> None:
        self.desk.stop(_who(browser))

    def _left(self, browser: gr.Request) -> None:
        self.desk.left(_who(browser))

    def _pick(self, event: gr.EventData, browser: gr.Request) -> tuple[Any, ...]:
        row = getattr(event, "row", None)
        return _updates(self.desk.picked(_who(browser), row) if isinstance(row, int) else Shown())

    def _take(self, browser: gr.Request) -> Any:
        shown = self.desk.last(_who(browser))
        if not shown:
            return gr.update()
        picture = Image.fromarray(np.asarray(_displayed(shown[0].outcome.images[0])))
        return {
            "background": picture.resize((_CANVAS, _CANVAS), Image.Resampling.NEAREST),
            "layers": [],
            "composite": None,
        }

    def _trained(self) -> str:
        assert self.run is not None
        try:
            loss = self.run.loss()
        except (ValueError, OSError) as error:
            loss = fragments.said(str(error), "wrong")
        sheets = "".join(
            f'<figure><img src="{each.url}" alt="samples after {each.images} training images">'
            f"<figcaption>after {each.images:,} images</figcaption></figure>"
            for each in self.run.previews()
        )
        title = escape(str(self.run.folder))
        return (
            f'<div class="training"><h3>{title}</h3><figure class="loss">{loss}</figure>'
            f'<p class="note">What the averaged model drew, always from the same seeds:</p>'
            f'<div class="sheets">{sheets or "<p>no previews yet</p>"}</div></div>'
        )


def _who(browser: gr.Request) -> str:
    return str(browser.session_hash)


def _outputs() -> list[gr.HTML]:
    """Places for what a run shows: see :class:`.Shown`."""
    first = fragments.said("Nothing is drawn yet: press Draw.")
    return [
        gr.HTML(first, elem_classes=["saying"]),
        gr.HTML("", js_on_load=_PICKS, elem_classes=["samples"]),
        gr.HTML(""),
        gr.HTML(""),
        gr.HTML(""),
    ]


def _updates(shown: Shown) -> tuple[Any, ...]:
    return tuple(gr.skip() if part is None else part for part in shown.parts)


def _refusal(error: MistakesError) -> str:
    told = "; ".join(f"{mistake.field.replace('.', ' ')}: {mistake.text}" for mistake in error.mistakes)
    return fragments.said(f"Nothing was drawn. {told}.", "wrong")


def _of(name: str, mistakes: Sequence[Mistake]) -> list[Mistake]:
    """Mistakes by the names of the page's fields."""
    shared = ("seeds", "labels", "picture", "strength", "noise")
    return [each if each.field in shared else replace(each, field=f"{name}.{each.field}") for each in mistakes]


def _other(sampler: Sampler) -> Sampler:
    """Something to compare with: Euler's method with as many steps."""
    return replace(sampler, solver=Sampler(solver="euler").solver)


def _presets(explorer: Explorer) -> dict[str, Sampler]:
    found = {_USUAL: explorer.usual}
    found |= {_TITLES[name]: Sampler.from_table(name) for name in reversed(table.NAMES)}
    if explorer.model != digits.MODEL and samplers_of(explorer.model).is_dir():
        for name in names_beside(explorer.model):
            try:
                found[f"{name} (beside the model)"] = load_named(explorer.model, name).sampler
            except (ValueError, OSError):
                continue  # made for other weights
    return found


def _heading(explorer: Explorer) -> str:
    exact = explorer.model == digits.MODEL
    what = (
        "The exact denoiser of 1,797 digits: nothing is trained, so what you see of a sampler is its own doing."
        if exact
        else "Every choice of sampling from this model is on this page."
    )
    name = "the digits, exactly" if exact else explorer.model
    return f"<h1>{TITLE} <small>{escape(name)}</small></h1><p>{what}</p>"


def _labels_info(explorer: Explorer) -> str:
    known = explorer.loaded.known_labels
    if known.kind == "vectors":
        return f"{known.dim} numbers with commas."
    return f"Classes {known.listed}, in turn: 3 or 0-2. Empty: drawn."


def _displayed(image: Tensor) -> Any:
    pixels = image.numpy()
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def _source(drawn: Any, shape: Sequence[int], way: str, strength: float, noise: str) -> Begin | Repaint:
    """What was uploaded and brushed, in the model's size.

    Raises:
        MistakesError: nothing was.
    """
    if not isinstance(drawn, dict) or drawn.get("background") is None:
        raise MistakesError([Mistake("picture", "upload one first, or take the first sample")])
    if way == _VARY:
        whole = drawn.get("composite")  # none until something is brushed
        return Begin(_fitted(drawn["background"] if whole is None else whole, shape), float(strength))
    marks = np.zeros(drawn["background"].shape[:2], dtype=np.float32)
    for layer in drawn.get("layers") or ():
        marks = np.maximum(marks, layer[..., 3].astype(np.float32))
    width, height = shape[2], shape[1]
    mask = np.asarray(Image.fromarray(marks).resize((width, height), Image.Resampling.BOX)) >= 127.5
    try:
        level = float(noise)
    except ValueError:
        raise MistakesError([Mistake("noise", f"{noise!r} is no number")]) from None
    return Repaint(_fitted(drawn["background"], shape), torch.from_numpy(mask.copy()), level)


def _fitted(pixels: Any, shape: Sequence[int]) -> Tensor:
    """RGBA pixels (H, W, 4) as a picture of the model's size and channels, uint8."""
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    image = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    image = image.convert(modes[shape[0]]).resize((shape[2], shape[1]), Image.Resampling.BOX)
    array = np.asarray(image)
    return torch.from_numpy((array[None] if array.ndim == 2 else array.transpose(2, 0, 1)).copy())
