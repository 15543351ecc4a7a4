"""Sections from the numbers that figures left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from elucidiff.figures import curvature, loss_per_sigma, repeated_churn, saved, step_errors, strips
from elucidiff.figures.numbers import Numbers, read_numbers
from elucidiff.figures.page import Picture, Section


def of_numbers(folder: Path, path: Path) -> list[Section]:
    """The figure with its explanation and the command that measured it.

    Args:
        folder: what the report is about.
        path: the file.

    Raises:
        ValueError: the numbers are damaged.
        OSError: they cannot be read.
    """
    kept = read_numbers(path)
    figure = saved.redraw(kept)
    title, explain, alternative = _WORDS[kept.figure]
    try:
        text = explain(kept)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"numbers of the figure {kept.figure} are missing or damaged: {error}") from None
    return [Section(title, text, Picture.of(figure, alternative), command=kept.command)]


def _curvature(kept: Numbers) -> str:
    turns = ", ".join(f"{whole[0]:.0f}° with {name}" for name, whole in kept.facts["turning"].items())
    return f"""
        Solutions of the probability-flow ODE for data on a line, over the density of the noisy data (Karras et al.
        2022, Fig. 3): a solver's steps are straight, so what bends is what they miss. Drawn as a square, the upper
        panels' solutions turn by {turns} on average.
        """


def _strips(kept: Numbers) -> str:
    return """
        Noisy images, what the exact denoiser of the training data makes of them, and what the network does (Karras et
        al. 2022, Fig. 1). At high noise both answer with the mean of what is possible; at low noise the exact
        denoiser can only answer with images that it knows, while the network treats unseen ones as well.
        """


def _step_errors(kept: Numbers) -> str:
    return f"""
        Single Heun steps from the exact solution, by noise level and by the exponent rho of the steps, and what
        their errors add up to (Karras et al. 2022, Fig. 13). The theory asks for steps that err alike, with rho
        about 3, and practice for 5 to 10; here steps err most alike with rho = {kept.facts["most_even"]:g}, and
        samples end nearest to the exact solutions with rho = {kept.facts["best"]:g}.
        """


def _loss_per_sigma(kept: Numbers) -> str:
    return """
        The weighted loss at each noise level, over the noise levels that training draws (Karras et al. 2022, Fig.
        5a). At very low noise nothing can be learned and at very high noise there is little to learn, so training
        should look where the curve of the network falls below that of a network whose output is 0.
        """


def _repeated_churn(kept: Numbers) -> str:
    low, high = kept.facts["between"]
    return f"""
        Images after ever more rounds of noise up to sigma = {high:g} and denoising down to {low:g} (Karras et al.
        2022, App. E.1). An exact denoiser keeps the distribution of the images, so what changes with the network
        beyond the shaded standard errors is its own doing, and what churn does to samples little by little.
        """


_WORDS: Mapping[str, tuple[str, Callable[[Numbers], str], str]] = {
    curvature.NAME: ("How much the ODE bends", _curvature, "Curves of the ODE over densities, for three schedules"),
    strips.NAME: ("From noisy images back", _strips, "Rows of noisy images and of denoised ones by noise level"),
    step_errors.NAME: ("What one step costs", _step_errors, "Errors of single steps by noise level and by rho"),
    loss_per_sigma.NAME: (
        "Loss by noise level",
        _loss_per_sigma,
        "Loss against noise level above training's density",
    ),
    repeated_churn.NAME: ("Churn in the long run", _repeated_churn, "Images after many cycles, and curves below"),
}
"""Title, explanation and description of each figure."""
