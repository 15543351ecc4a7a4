"""The error of single steps, by noise level and by rho (Karras et al. 2022, App. D.1 and Fig. 13)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from torch import Tensor
from tyro.conf import Positional

import elucidiff
from elucidiff.denoisers.base import DenoiserLike
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.shapes import Labels
from elucidiff.design import steps
from elucidiff.design.schedules import EDM
from elucidiff.design.steps import Karras
from elucidiff.figures.base import SILENT, MeasuredFigure, Numbers, ProgressBar
from elucidiff.figures.style import BLUE, GREY, INK, LINES, VERMILION, new_figure, quiet
from elucidiff.parts import part
from elucidiff.plain_data import numbers_from_text
from elucidiff.sampling.checks import seed_names
from elucidiff.sampling.fixed_batch import FixedBatch
from elucidiff.sampling.grid import clamp_range
from elucidiff.sampling.loop import Step, sample
from elucidiff.sampling.ode import probability_flow
from elucidiff.sampling.seeds import begin, parse_seeds
from elucidiff.solvers import Heun, Solver
from elucidiff.solvers.unipc import UniPC

Array = npt.NDArray[np.float64]

RHOS = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0)
_FINE, _LEAST, _FINE_SOLVER = 160, 8, UniPC(3)
"""All steps together are solved exactly by so many steps of this method, or so many each where that is more: for a
float32 network that is as good as exactly."""


@dataclass(frozen=True)
class StepErrors:
    """Errors of karras steps (Karras et al. 2022, Eq. 5) with some rho, in units of the data.

    Attributes:
        rho: the exponents, ``(R,)``.
        sigma: where each step starts, ``(R, N - 1)``. The last step of all, to 0, has no error: it ends at the
            denoised image by definition.
        local: root mean square error of a single step from the exact solution, ``(R, N - 1)``.
        end: root mean square distance to the exact solution after all steps, ``(R,)``.
    """

    rho: Array
    sigma: Array
    local: Array
    end: Array

    @property
    def total(self) -> Array:
        """Sum of the local errors, ``(R,)``."""
        return np.asarray(self.local.sum(1))

    @property
    def unevenness(self) -> Array:
        """Standard deviation of the local errors over their mean: 0 if all steps err alike, ``(R,)``."""
        return np.asarray(self.local.std(1) / self.local.mean(1))

    @property
    def most_even(self) -> float:
        """The rho whose steps err most alike: what the theory asks for, about 3."""
        return float(self.rho[self.unevenness.argmin()])

    @property
    def best(self) -> float:
        """The rho with which samples end nearest to the exact solutions."""
        return float(self.rho[self.end.argmin()])


def step_errors(
    denoiser: DenoiserLike,
    seeds: Sequence[int],
    *,
    n: int = 18,
    rhos: Sequence[float] = RHOS,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    solver: Solver = Heun(),  # noqa: B008 (frozen)
    labels: Labels | Conditions | int | None = None,
    shape: Sequence[int] | None = None,
    batch_size: int = 16,
    progress: Callable[[int], object] = lambda done: None,
) -> StepErrors:
    """Take single steps from the exact solution of the ODE (Karras et al. 2022, Eq. 1), and see where they end.

    Args:
        denoiser: as for :meth:`.Sampler.run`; used where it is.
        seeds: one integer a sample.
        n: number of steps N.
        rhos: exponents to compare.
        sigma_min: lowest noise level before 0, in units of the data; clamped to the denoiser's range.
        sigma_max: highest noise level, likewise.
        solver: a one-step method with fixed steps.
        labels: as for :meth:`.Sampler.run`.
        shape: shape (C, *spatial) of a sample; by default the denoiser's ``sample_shape``.
        batch_size: samples in one call of the denoiser.
        progress: called with the number of exponents that are done.

    Raises:
        ValueError: there are no exponents or fewer than 3 steps, the solver is not of that kind, labels or shape do
            not fit, or the denoiser gave values that are not finite.
    """
    if not rhos or n < 3:
        raise ValueError(
            f"{n} steps with {len(rhos)} exponents make no comparison: choose 3 steps or more, and a rho"
        )
    if solver.adaptive or solver.multistep or solver.stochastic:
        raise ValueError(f"{type(solver).__name__} takes no single steps: choose heun, euler or rk2")
    low, high = clamp_range(denoiser, sigma_min, sigma_max)
    beginning = begin(denoiser, seeds, labels, shape, None)
    batches = FixedBatch(denoiser, batch_size)
    schedule = EDM()
    sigma, local, end = [], [], []
    for done, rho in enumerate(rhos):
        levels = steps.karras(n, low, high, rho)
        exact = _exact_solution(batches, seeds, beginning.latents, beginning.labels, levels)
        ode = probability_flow(batches, schedule, beginning.latents, beginning.labels, None)
        with torch.no_grad():
            errors = [
                _rms(solver.step(ode, exact[k], t, t_next, None).x - exact[k + 1])
                for k, (t, t_next) in enumerate(zip(levels[:-2].tolist(), levels[1:-1].tolist(), strict=True))
            ]
        ours = sample(batches, beginning.latents, levels, solver=solver, labels=beginning.labels)
        sigma.append(levels[:-2].numpy())
        local.append(errors)
        end.append(_rms(ours - exact[-1]))
        progress(done + 1)
    return StepErrors(np.asarray(rhos, dtype=np.float64), np.stack(sigma), np.asarray(local), np.asarray(end))


def _exact_solution(
    denoiser: FixedBatch, seeds: Sequence[int], latents: Tensor, labels: Conditions | None, levels: Tensor
) -> list[Tensor]:
    """The solution at each of the noise levels ``(N + 1,)``."""
    found: list[Tensor] = []
    each = max(_LEAST, math.ceil(_FINE / (len(levels) - 2)))

    def keep(step: Step) -> None:
        if step.index % each == 0:
            found.append(step.x)

    x = sample(
        denoiser,
        latents,
        _refined(levels, each),
        solver=_FINE_SOLVER,
        labels=labels,
        callback=keep,
        names=seed_names(seeds),
    )
    return [*found, x]


def _refined(levels: Tensor, each: int) -> Tensor:
    """The same levels, each step but the last, to 0, in ``each`` steps that are even in their seventh root."""
    roots = levels[:-1] ** (1 / 7)
    inner = torch.arange(each, dtype=levels.dtype) / each
    between = (roots[:-1, None] + inner * roots.diff()[:, None]) ** 7
    between[:, 0] = levels[:-2]  # to the bit
    return torch.cat([between.flatten(), levels[-2:]])


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


NAME = "step-errors"
_THEORY, _PRACTICE = 3.0, (5.0, 10.0)


def draw(errors: StepErrors) -> Figure:
    """The local error against the noise level for each rho, how uneven it is against rho, and what that adds up to.

    The rho whose steps err most alike, and the one with which samples end nearest to the exact solutions, are marked,
    beside what the paper says: about 3 in theory, 5 to 10 in practice.
    """
    figure = new_figure(11.0, 3.7)
    local, even, sums = figure.subplots(1, 3, width_ratios=[1.35, 1, 1])
    colours = matplotlib.colormaps["viridis"]
    for number, rho in enumerate(errors.rho):
        shade = colours(0.92 * number / max(1, len(errors.rho) - 1))
        local.plot(
            errors.sigma[number], errors.local[number], color=shade, linewidth=1.5,
            linestyle=LINES[number % len(LINES)], marker="o", markersize=2.4, label=f"{rho:g}",
        )  # fmt: skip
    local.set(xscale="log", yscale="log")
    local.set_xlabel(r"noise level $\sigma$ at the start of the step (units of the data)", fontsize=9)
    local.set_ylabel("error of one step (RMS, units of the data)", fontsize=9)
    local.legend(title=r"$\rho$", frameon=False, fontsize=8, title_fontsize=9, ncols=2, loc="best")
    local.set_title("One step from the exact solution", fontsize=10, color=INK, loc="left")

    even.plot(errors.rho, errors.unevenness, color=BLUE, marker="o", markersize=4)
    even.set_ylabel("standard deviation of the errors / mean", fontsize=9)
    even.set_title("How unevenly steps err", fontsize=10, color=INK, loc="left")
    _mark(even, errors.rho, errors.unevenness, errors.most_even, "most even")

    sums.plot(errors.rho, errors.total, color=BLUE, marker="o", markersize=4, label="sum of the single steps")
    sums.plot(
        errors.rho, errors.end, color=VERMILION, linestyle="--", marker="s", markersize=4, label="after all steps"
    )
    sums.set_yscale("log")
    sums.set_ylabel("error (RMS, units of the data)", fontsize=9)
    sums.set_title("What they add up to", fontsize=10, color=INK, loc="left")
    sums.legend(frameon=False, fontsize=8, loc="upper right", bbox_to_anchor=(1.0, 0.92))
    _mark(sums, errors.rho, errors.end, errors.best, "best")
    for axes in (even, sums):
        _rho_axis(axes, errors.rho)
    for axes in (local, even, sums):
        quiet(axes)
    return figure


def numbers(errors: StepErrors, command: str) -> Numbers:
    """The same as numbers to keep."""
    return Numbers(NAME, command, {"most_even": errors.most_even, "best": errors.best}, asdict(errors))


def _rho_axis(axes: Axes, rho: Array) -> None:
    axes.set_xscale("log")
    axes.set_xlabel(r"exponent $\rho$ of the steps", fontsize=9)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rho, _: f"{rho:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(rho.min() / 1.15, rho.max() * 1.15)
    axes.axvspan(*_PRACTICE, ymax=0.92, color=GREY, alpha=0.13, linewidth=0)
    axes.axvline(_THEORY, ymax=0.92, color=GREY, linestyle=":", linewidth=1.2)
    for x, text in ((_THEORY, "theory"), (math.sqrt(_PRACTICE[0] * _PRACTICE[1]), "practice")):
        axes.text(x, 0.99, text, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=8, color=GREY)


def _mark(axes: Axes, rho: Array, values: Array, chosen: float, word: str) -> None:
    at = int((rho == chosen).argmax())
    axes.plot([chosen], [values[at]], marker="o", markersize=10, markerfacecolor="none", color=INK, linestyle="none")
    axes.annotate(
        rf"{word}: $\rho$ = {chosen:g}", (chosen, values[at]), xytext=(0, 9), textcoords="offset points",
        ha="center", va="bottom", fontsize=8, color=INK,
    )  # fmt: skip


@part("figure", "step_errors")
@dataclass(frozen=True)
class StepErrorsFigure(MeasuredFigure):
    """The error of single Heun steps by noise level for several rho, the rho that makes it even, and what errors add
    up to (Karras et al. 2022, Fig. 13)."""

    summary: ClassVar[str] = "the error of single steps, and the best rho (Fig. 13)"
    title: ClassVar[str] = "What one step costs"
    alternative: ClassVar[str] = "Errors of single steps by noise level and by rho"

    model: Positional[Path]
    """A model folder, a model of another library, or your own code that makes one, package.module:function."""
    n: int = 18
    """Number of steps."""
    rho: str = ",".join(f"{rho:g}" for rho in RHOS)
    """Exponents of karras steps, with commas between them."""
    seeds: str = "0-31"
    """Seeds of the samples."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    batch_size: int = 16
    """Images in one call of the network."""

    def measure(self, command: str, progress: ProgressBar = SILENT) -> Numbers:
        """Take the steps."""
        rhos, seeds = numbers_from_text("rho", self.rho, float), parse_seeds(self.seeds)
        for rho in rhos:
            Karras(self.n, rho=rho)  # refuses what are no steps
        denoiser = elucidiff.load(self.model, self.device)
        denoiser.known_labels.refuse_field("this figure")
        with progress("solving", len(rhos), "values of rho") as bar:
            errors = step_errors(denoiser, seeds, n=self.n, rhos=rhos, batch_size=self.batch_size, progress=bar.reach)
        return numbers(errors, command)

    @classmethod
    def redraw(cls, kept: Numbers) -> Figure:
        """The figure from numbers that were kept."""
        return draw(StepErrors(**kept.arrays))

    @classmethod
    def explain(cls, kept: Numbers) -> str:
        """A paragraph for a report."""
        return f"""
            Single Heun steps from the exact solution, by noise level and by the exponent rho of the steps, and what
            their errors add up to (Karras et al. 2022, Fig. 13). The theory asks for steps that err alike, with rho
            about 3, and practice for 5 to 10; here steps err most alike with rho = {kept.facts["most_even"]:g}, and
            samples end nearest to the exact solutions with rho = {kept.facts["best"]:g}.
            """
