"""Images after ever more rounds of noise and denoising, and what becomes of them (Karras et al. 2022, App. E.1)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from torch import Tensor

from elucidiff.data.spectrum import to_frequencies
from elucidiff.denoisers.base import DenoiserLike
from elucidiff.denoisers.conditions import Conditions
from elucidiff.design import steps
from elucidiff.design.schedules import EDM
from elucidiff.design.values import check_positive, check_range
from elucidiff.evaluation.model_and_data import IDEAL, TRAINED, Part, open_pictures
from elucidiff.figures.base import SILENT, Numbers, OfModel, ProgressBar
from elucidiff.figures.style import INK, LINES, PALETTE, mosaic, new_figure, picture, pixels, quiet
from elucidiff.parts import part
from elucidiff.plain_data import numbers_from_text
from elucidiff.sampling.fixed_batch import FixedBatch
from elucidiff.sampling.ode import ProbabilityFlow, probability_flow
from elucidiff.solvers import DPMpp2M

Array = npt.NDArray[np.float64]

LOOKS = (0, 1, 3, 10, 30, 100)
_DOWN, _OUT = 8, 12
"""Steps from the upper noise level to the lower one, and from there to a finished image. The errors of a hundred
cycles add up; with as many evaluations Heun's method takes Gaussian data 4% off their variance, this one 0.5%."""


@dataclass(frozen=True)
class ChurnTrace:
    """Images after some numbers of cycles, finished by the ODE, and what each of them is like; a row a look.

    Attributes:
        cycles: how many there had been, ``(K,)``.
        images: in units of the data, ``(K, B, C, *spatial)``.
        contrast: standard deviation of the values of an image, ``(K, B)``.
        saturation: root mean square distance of values from the grey of their pixel, ``(K, B)``; None for one
            channel.
        detail: share of an image's power, its mean left out, at more than half of the highest frequency, ``(K, B)``.
    """

    cycles: tuple[int, ...]
    images: Array
    contrast: Array
    saturation: Array | None
    detail: Array


@torch.no_grad()
def repeated_churn(
    denoiser: DenoiserLike,
    images: Tensor,
    *,
    sigma_min: float = 0.1,
    sigma_max: float = 0.5,
    noise_scale: float = 1.0,
    looks: Sequence[int] = LOOKS,
    lowest: float = 0.002,
    labels: Conditions | None = None,
    seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[int], object] = lambda cycles: None,
) -> ChurnTrace:
    """Put noise of ``sigma_min`` on images, then raise it to ``sigma_max`` and solve the ODE down again, many times.

    An exact denoiser keeps the distribution p(x; sigma_min), however often this is done. What changes with a trained
    one is what churn does to its samples: little by little, and in its own way.

    Args:
        denoiser: D, as for :func:`~elucidiff.sampling.sample`; used where it is.
        images: clean images in units of the noise levels, ``(B, C, *spatial)``, on the denoiser's device.
        sigma_min: noise level at which a cycle begins and ends.
        sigma_max: to which it raises the noise.
        noise_scale: S_noise, the standard deviation of the noise that is added.
        looks: numbers of cycles after which images are finished and measured, increasing.
        lowest: noise level at which they count as finished but for the last step, to 0.
        labels: rows ``(B, label_dim)`` or other conditions, or None.
        seed: of the noise, which is the same for all denoisers.
        batch_size: images in one call of the denoiser.
        progress: called with the number of cycles done.

    Raises:
        ValueError: a range is upside down, or the looks do not increase from 0 or more.
    """
    check_range(sigma_min, sigma_max)
    check_range(lowest, sigma_min)
    check_positive(noise_scale=noise_scale)
    if not looks or looks[0] < 0 or list(looks) != sorted(set(looks)):
        raise ValueError(f"looks are after {tuple(looks)} cycles: choose increasing numbers from 0 on")
    generator = torch.Generator().manual_seed(seed)
    ode = probability_flow(FixedBatch(denoiser, batch_size), EDM(), images, labels, None)
    down, out = steps.karras(_DOWN + 1, sigma_min, sigma_max)[:-1], steps.karras(_OUT, lowest, sigma_min)
    step = noise_scale * (sigma_max**2 - sigma_min**2) ** 0.5

    def noise() -> Tensor:
        return torch.randn(images.shape, generator=generator, dtype=torch.float64).to(images.device)

    x = images.double() + sigma_min * noise()
    seen: list[Tensor] = []
    for cycle in range(looks[-1] + 1):
        if cycle:
            x = _follow(ode, x + step * noise(), down.tolist())
            progress(cycle)
        if cycle in looks:
            seen.append(_follow(ode, x, out.tolist()).cpu())
    return _measured(tuple(looks), torch.stack(seen).numpy())


def _follow(ode: ProbabilityFlow, x: Tensor, levels: Sequence[float]) -> Tensor:
    """DPM-Solver++ 2M from level to level."""
    state = None
    for sigma, sigma_next in itertools.pairwise(levels):
        advance = DPMpp2M().step(ode, x, sigma, sigma_next, state)
        x, state = advance.x, advance.state
    return x


def _measured(cycles: tuple[int, ...], images: Array) -> ChurnTrace:
    def rms(values: Array) -> Array:
        return np.asarray(np.sqrt(np.mean(values**2, axis=tuple(range(2, values.ndim)))))

    every = tuple(range(2, images.ndim))
    return ChurnTrace(
        cycles=cycles,
        images=images,
        contrast=rms(images - images.mean(every, keepdims=True)),
        saturation=None if images.shape[2] == 1 else rms(images - images.mean(2, keepdims=True)),
        detail=np.stack([high_frequency_share(look) for look in images]),
    )


def high_frequency_share(images: Array) -> Array:
    """Share of each image's power at more than half of the highest frequency, its mean left out.

    Frequencies are those of the cosine transform, as parts of the highest along each axis; that of a coefficient is
    the largest of them.

    Args:
        images: ``(B, C, *spatial)``.

    Returns:
        ``(B,)``; 0 for an image of one value.
    """
    power = to_frequencies(images, np.eye(images.shape[1])) ** 2
    parts = [np.arange(side) / max(1, side - 1) for side in images.shape[2:]]
    frequency = np.max(np.stack(np.meshgrid(*parts, indexing="ij")), axis=0)
    all_of_it = power[..., frequency > 0].reshape(len(images), -1).sum(1)
    high = power[..., frequency > 0.5].reshape(len(images), -1).sum(1)
    return np.asarray(np.divide(high, all_of_it, out=np.zeros(len(images)), where=all_of_it > 0))


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

                traces[name] = repeated_churn(
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
