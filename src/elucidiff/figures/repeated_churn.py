"""Images after ever more rounds of noise and denoising, and what becomes of them (Karras et al. 2022, App. E.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from elucidiff.evaluation.model_and_data import IDEAL, TRAINED, Part, open_pictures
from elucidiff.evaluation.repeated_churn import LOOKS, Array, ChurnTrace
from elucidiff.evaluation.repeated_churn import repeated_churn as measure_churn
from elucidiff.figures.base import SILENT, Numbers, OfModel, ProgressBar
from elucidiff.figures.style import INK, LINES, PALETTE, mosaic, new_figure, picture, pixels, quiet
from elucidiff.parts import part
from elucidiff.plain_data import numbers_from_text

NAME = "repeated-churn"
_SHOWN = 4  # images of each look
_KEPT = 16
# Inches: the pictures of a look, the space to the next, names, titles, and the curves below.
_LOOK, _GAP, _LEFT, _TOP, _CURVES = 1.3, 0.1, 0.4, 0.3, 3.0


_MEASURES: dict[str, Callable[[ChurnTrace], Array | None]] = {
    "contrast (standard deviation)": lambda trace: trace.contrast,
    "saturation (distance from grey)": lambda trace: trace.saturation,
    "detail (share of high frequencies)": lambda trace: trace.detail,
}


def draw(traces: Mapping[str, ChurnTrace], between: tuple[float, float]) -> Figure:
    """A block of pictures for each denoiser, a column for each look; below them the measures, relative to the start.

    Shades are standard errors of the change since the start, over images.

    Args:
        traces: by the name of the denoiser; all with the same looks and of the same images.
        between: the noise levels of the cycles.
    """
    any_of = next(iter(traces.values()))
    shown = min(_SHOWN, any_of.images.shape[1])
    columns = 2 if shown > 1 else 1
    rows = -(-shown // columns)
    tall = _LOOK * any_of.images.shape[-2] / any_of.images.shape[-1] * rows / columns
    width = _LEFT + len(any_of.cycles) * (_LOOK + _GAP)
    height = _TOP + len(traces) * (tall + _GAP) + _CURVES
    figure = new_figure(width, height)
    figure.set_layout_engine("none")  # a plain grid in inches
    for block, (name, trace) in enumerate(traces.items()):
        bottom = _TOP + block * (tall + _GAP) + tall
        for number, (cycles, look) in enumerate(zip(trace.cycles, trace.images, strict=True)):
            left = _LEFT + number * (_LOOK + _GAP)
            axes = figure.add_axes((left / width, 1 - bottom / height, _LOOK / width, tall / height))
            picture(axes, mosaic(pixels(look[:shown]), columns, zoom=3))
            if block == 0:
                axes.set_title(
                    "start" if cycles == 0 else f"{cycles} cycle{'s'[: cycles > 1]}", fontsize=9, color=INK
                )
        figure.text(
            0.5 * _LEFT / width, 1 - (bottom - tall / 2) / height, name, ha="center", va="center", rotation=90,
            fontsize=9, color=INK,
        )  # fmt: skip
    measures = {title: of for title, of in _MEASURES.items() if of(any_of) is not None}
    share = width / len(measures)
    for number, (title, of) in enumerate(measures.items()):
        left = number * share + 0.75
        axes = figure.add_axes((left / width, 0.5 / height, (share - 0.95) / width, (_CURVES - 1.1) / height))
        _curves(axes, {name: np.asarray(of(trace)) for name, trace in traces.items()}, any_of.cycles)
        axes.set_title(title, fontsize=10, color=INK, loc="left")
        axes.set_xlabel(f"cycles between noise levels {between[0]:g} and {between[1]:g}", fontsize=9)
        if number == 0:
            axes.set_ylabel("relative to the start", fontsize=9)
            axes.legend(frameon=False, fontsize=9)
    return figure


def numbers(traces: Mapping[str, ChurnTrace], between: tuple[float, float], command: str) -> Numbers:
    """The same as numbers to keep, with the first few images."""
    arrays = {
        f"{name}/{entry.name}": value[:, :_KEPT].astype(np.float32) if entry.name == "images" else np.asarray(value)
        for name, trace in traces.items()
        for entry in fields(trace)
        if (value := getattr(trace, entry.name)) is not None
    }
    return Numbers(NAME, command, {"denoisers": list(traces), "between": list(between)}, arrays)


def _curves(axes: Axes, measures: Mapping[str, Array], cycles: Sequence[int]) -> None:
    """The mean over images of a measure ``(K, B)`` by denoiser, relative to the start, with its standard error."""
    for colour, line, (name, values) in zip(PALETTE, LINES, measures.items(), strict=False):
        change = (values - values[0]) / values[0].mean()
        mean = 1 + change.mean(1)
        axes.plot(cycles, mean, color=colour, linestyle=line, marker="o", markersize=3.5, label=name)
        if values.shape[1] > 1:
            error = change.std(1, ddof=1) / values.shape[1] ** 0.5
            axes.fill_between(cycles, mean - error, mean + error, color=colour, alpha=0.18, linewidth=0)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xticks(cycles)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    quiet(axes)


@part("figure", "repeated_churn")
@dataclass(frozen=True)
class RepeatedChurnFigure(OfModel):
    """Images after many rounds of adding noise and taking it away, with the exact denoiser and with the model
    (Karras et al. 2022, App. E.1)."""

    summary: ClassVar[str] = "what churn does to images in the long run (App. E.1)"
    title: ClassVar[str] = "Churn in the long run"
    alternative: ClassVar[str] = "Images after many cycles, and curves below"

    images: int = 64
    """Number of images to begin with."""
    part: Part = "training"
    """Which images: held-out, training, or all. The exact denoiser knows those of the training alone."""
    sigma_min: float = 0.1
    """Noise level at which a cycle begins and ends."""
    sigma_max: float = 0.5
    """Noise level to which it goes up."""
    noise_scale: float = 1.0
    """S_noise: standard deviation of the noise that is added."""
    cycles: str = ",".join(map(str, LOOKS))
    """After how many cycles to look, with commas between them."""
    seed: int = 0
    """Of the noise."""

    def measure(self, command: str, progress: ProgressBar = SILENT) -> Numbers:
        """Churn."""
        looks = numbers_from_text("cycles", self.cycles, int)
        opened = open_pictures(self.model, self.data, self.device, self.part, self.images)
        traces = {}
        with progress("churning", 2 * looks[-1], "cycles") as bar:
            for number, (name, denoiser) in enumerate({IDEAL: opened.ideal, TRAINED: opened.denoiser}.items()):

                def tick(done: int, before: int = number * looks[-1]) -> None:
                    bar.reach(before + done)

                traces[name] = measure_churn(
                    denoiser,
                    opened.images,
                    sigma_min=self.sigma_min,
                    sigma_max=self.sigma_max,
                    noise_scale=self.noise_scale,
                    looks=looks,
                    labels=opened.labels,
                    seed=self.seed,
                    batch_size=self.batch_size,
                    progress=tick,
                )
        return numbers(traces, (self.sigma_min, self.sigma_max), command)

    @classmethod
    def redraw(cls, kept: Numbers) -> Figure:
        """The figure from numbers that were kept."""

        def trace(name: str) -> ChurnTrace:
            return ChurnTrace(
                tuple(int(cycle) for cycle in kept.arrays[f"{name}/cycles"]),
                kept.arrays[f"{name}/images"].astype(np.float64),
                kept.arrays[f"{name}/contrast"],
                kept.arrays.get(f"{name}/saturation"),
                kept.arrays[f"{name}/detail"],
            )

        low, high = kept.facts["between"]
        return draw({name: trace(name) for name in kept.facts["denoisers"]}, (float(low), float(high)))

    @classmethod
    def explain(cls, kept: Numbers) -> str:
        """A paragraph for a report."""
        low, high = kept.facts["between"]
        return f"""
            Images after ever more rounds of noise up to sigma = {high:g} and denoising down to {low:g} (Karras et
            al. 2022, App. E.1). An exact denoiser keeps the distribution of the images, so what changes with the
            network beyond the shaded standard errors is its own doing, and what churn does to samples little by
            little.
            """
