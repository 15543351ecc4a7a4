"""``report.html``: what was done and what came of it, from the numbers that the study saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from elucidiff.data.npy import read_arrays
from elucidiff.design import steps
from elucidiff.figures import grid, loss_per_sigma, neighbours, trajectory
from elucidiff.figures import steps as steps_figure
from elucidiff.figures.page import Picture, Section, Table, write_page
from elucidiff.figures.style import BLUE, INK, mosaic, new_figure, picture, quiet, save
from elucidiff.untrusted import read_json

TITLE = "Digits from noise"
RESULTS, NUMBERS = "results.json", "numbers.npz"


def write_report(run_dir: Path) -> Path:
    """Draw the figures into ``run_dir/figures`` and bind them into ``run_dir/report.html``.

    Args:
        run_dir: where ``results.json`` and ``numbers.npz`` of the study are.

    Returns:
        The path of the report, which needs no other file.
    """
    lead, sections = read_sections(run_dir)
    return write_page(run_dir / "report.html", TITLE, lead, sections)


def is_demo(run_dir: Path) -> bool:
    """True if the study of ``elucidiff demo`` was finished in a folder."""
    return (run_dir / RESULTS).is_file() and (run_dir / NUMBERS).is_file()


def read_sections(run_dir: Path) -> tuple[str, list[Section]]:
    """Draw the figures into ``run_dir/figures``; what the report begins with, and its sections.

    Raises:
        ValueError: the files there are not those of the study.
        OSError: they cannot be read, or a figure cannot be written.
    """
    try:
        results = read_json(run_dir / RESULTS)
        numbers = read_arrays(run_dir / NUMBERS)
        figures = _draw(run_dir / "figures", results, numbers)
        return _lead(results), [
            _samples(results, figures["grid"]),
            _figures_of_merit(results),
            _trajectory(figures["trajectory"]),
            _loss(figures["loss_per_sigma"]),
            _steps(figures["steps"]),
            _budget(results, figures["budget"]),
            _memory(results, figures["neighbours"]),
            _how(results),
        ]
    except (LookupError, TypeError, ValueError, AttributeError):
        raise ValueError(
            f"{run_dir / RESULTS} and {NUMBERS} are not those of `elucidiff demo`, or damaged: run it again there"
        ) from None


def _lead(results: dict[str, Any]) -> str:
    return (
        f"A class-conditional diffusion model, trained here in {_duration(results['training']['seconds'])} on "
        f"{results['data']['train']:,} real 8x8 digits, drew the samples below with "
        f"{results['sampling']['nfe']} network evaluations each. This page says what was done and how good they are."
    )


def _draw(folder: Path, results: dict[str, Any], numbers: dict[str, Any]) -> dict[str, Path]:
    sampling = results["sampling"]
    counts = [int(n) for n in results["budget"]["steps"]]
    drawings = {
        "grid": grid.draw(
            {
                f"Samples, {sampling['nfe']} evaluations each": numbers["samples"],
                "Real digits that the model never saw": numbers["real"],
            },
            rows=[str(k) for k in range(10)],
        ),
        "trajectory": trajectory.draw(
            numbers["trajectory_x"],
            numbers["trajectory_denoised"],
            numbers["sigmas"],
            sigma_data=results["model"]["sigma_data"],
        ),
        "loss_per_sigma": loss_per_sigma.draw(
            numbers["loss_sigmas"],
            {
                "before training": numbers["loss_before"],
                "after training, on digits held out": numbers["loss_after"],
                "after training, on digits trained on": numbers["loss_train"],
            },
            numbers["loss_density"],
        ),
        "steps": steps_figure.draw(
            {
                f"karras steps, rho = {rho}": steps.karras(sampling["steps"], rho=float(rho)).numpy()
                for rho in (7, 3, 1)
            }
        ),
        "budget": draw_budget(
            {n: numbers[f"budget_{n}"] for n in counts},
            dict(zip(counts, results["budget"]["nfe"], strict=True)),
            dict(zip(counts, results["budget"]["rms"], strict=True)),
        ),
        "neighbours": neighbours.draw(
            {
                "samples": numbers["distance_samples"],
                "unseen real digits": numbers["distance_held_out"],
            },
            numbers["closest_samples"],
            numbers["closest_training"],
        ),
    }
    return {name: save(drawing, folder / name)[0] for name, drawing in drawings.items()}


def _samples(results: dict[str, Any], figure: Path) -> Section:
    last = results["sampling"]["images"] - 1
    text = f"""
        Left: samples, ten of each class, from the seeds 0 to {last}; none were left out. Right: real digits
        that were held out of the training.
        """
    alternative = "Ten rows of generated digits beside ten rows of real ones"
    return Section("Samples beside real digits", text, Picture.read(figure, alternative))


def _figures_of_merit(results: dict[str, Any]) -> Section:
    quality, real, data = results["quality"], results["real"], results["data"]
    text = f"""
        Each metric stands beside the value that real digits reach.

        Label accuracy: a classifier (scikit-learn's support vector machine, trained on the real training
        digits) says whether a sample shows the class that was asked for. It errs on real digits, too, as the
        last column says.

        Frechet distance: it compares mean and covariance of {data["components"]} principal components with
        those of the {data["held_out"]} held-out digits. Even real digits do not reach 0, because the sets are
        small, so as many images are taken on both sides; the error is over repetitions with other images.

        Nearest training image: the root mean square difference per pixel, in units of [-1, 1] images.
        """
    ratio = quality["frechet"] / real["frechet"]
    rows = [
        [
            "label accuracy",
            f"{quality['accuracy']:.1%} of {quality['accuracy_n']:,}",
            f"{real['accuracy']:.1%} of {data['held_out']}",
        ],
        [
            "Frechet distance on PCA features",
            f"{quality['frechet']:.3f} ± {quality['frechet_std']:.3f} ({ratio:.2f} times real)",
            f"{real['frechet']:.3f} ± {real['frechet_std']:.3f}",
        ],
        [
            "median distance to the nearest training image",
            f"{quality['nearest_median']:.3f}",
            f"{real['nearest_median']:.3f}",
        ],
    ]
    return Section("How good are they?", text, table=Table(["metric", "samples", "real digits"], rows))


def _trajectory(figure: Path) -> Section:
    text = """
        Upper rows: the state x at falling noise levels sigma; its contrast is kept equal, so that it can be
        seen. Lower rows: D(x; sigma), the network's best guess of the clean image. At high noise that is the
        mean of the class; detail comes in as the noise falls.
        """
    alternative = "Noisy states above the denoiser's outputs"
    return Section("From noise to digit", text, Picture.read(figure, alternative))


def _loss(figure: Path) -> Section:
    text = """
        The weighted loss per pixel (Karras et al. 2022, Eq. 2 times lambda). At very low noise nothing can be
        learned, since the noise is lost in the detail of the image; at very high noise there is little to
        learn, since the answer is the mean. So training looks in between, where p_train is high.

        Where the held-out digits have a higher loss than those trained on, the network begins to memorise.
        """
    alternative = "Loss against noise level"
    return Section("What the network learned, by noise level", text, Picture.read(figure, alternative))


def _steps(figure: Path) -> Section:
    text = """
        The noise levels that the samples above passed through (rho = 7), and those of two other values of rho.
        A larger rho takes shorter steps at low noise, where errors are seen, and longer ones at high noise.
        """
    alternative = "Noise level against step for three values of rho"
    return Section("Where the sampler spends its steps", text, Picture.read(figure, alternative))


def _budget(results: dict[str, Any], figure: Path) -> Section:
    text = f"""
        The probability-flow ODE takes a seed to one image, and a solver approximates it. So the same seeds give
        nearly the same images at 18 and at 64 steps. Two steps are too few for Heun's method: its correction
        overshoots. The curve shows the distance to a solution with {results["budget"]["reference_steps"]}
        steps. The method is of second order: once the steps are short, twice as many leave about a quarter of
        the error.
        """
    alternative = "The same digits at 2 to 64 steps"
    return Section("The same seeds, more and fewer steps", text, Picture.read(figure, alternative))


def _memory(results: dict[str, Any], figure: Path) -> Section:
    text = f"""
        A model that copies its training set would show samples much closer to it than unseen real digits are.
        Of unseen real digits, 5% lie within a certain distance of a training image; of the samples,
        {results["quality"]["closer_than_real"]:.0%} do.
        """
    alternative = "Distributions of nearest-neighbour distances, and closest pairs"
    return Section("Memory or learning?", text, Picture.read(figure, alternative))


def _how(results: dict[str, Any]) -> Section:
    training, sampling, machine, model = (results[key] for key in ("training", "sampling", "machine", "model"))
    data = results["data"]
    rows = [
        ["data", f"{data['name']}: {data['train']:,} images to train on, {data['held_out']} held out"],
        ["network", f"{model['architecture']}, {model['parameters'] / 1e6:.2f} million parameters"],
        [
            "training",
            f"{training['images']:,} images in {_duration(training['seconds'])}, {training['steps']:,} steps",
        ],
        ["sampling", f"Heun, {sampling['steps']} steps; {sampling['nfe']} evaluations an image, counted"],
        ["time", f"{sampling['images']} samples in {sampling['seconds']:.1f} seconds"],
        ["machine", f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}"],
        ["elucidiff", results["version"]],
    ]
    text = """
        `elucidiff demo` made this page. The settings are in config.yaml beside it, and everything shown is in
        results.json and numbers.npz.
        """
    return Section("How it was made", text, table=Table(["", ""], rows))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.1f} minutes"


def draw_budget(
    images: Mapping[int, npt.NDArray[np.uint8]], nfe: Mapping[int, int], rms: Mapping[int, float]
) -> Figure:
    """A row of images per number of steps, and beside them the distance to the finest row.

    Args:
        images: steps -> images ``(B, C, H, W)`` from the same seeds.
        nfe: steps -> network evaluations per image.
        rms: steps -> root mean square distance to a fine reference solution, in units of the data ([-1, 1] images).
    """
    steps = sorted(images)
    count, _, h, w = images[steps[0]].shape
    width = 6.0
    height = width * len(steps) * (h + 1) / (count * (w + 1))
    figure = new_figure(width + 3.6, max(2.6, height))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[width, 3.6])[0]
    for axes, n in zip(left.subplots(len(steps), 1, squeeze=False)[:, 0], steps, strict=True):
        picture(axes, mosaic(images[n], count, zoom=4))
        axes.text(
            -0.01, 0.5, f"{n} steps\n{nfe[n]} evaluations", transform=axes.transAxes,
            ha="right", va="center", fontsize=8, color=INK,
        )  # fmt: skip
    right.suptitle(" ", fontsize=4)
    curve = right.subplots()
    shown = [n for n in steps if rms[n] > 0]
    curve.plot([nfe[n] for n in shown], [rms[n] for n in shown], marker="o", color=BLUE)
    curve.set(xscale="log", yscale="log", xlabel="network evaluations per image")
    curve.xaxis.label.set_size(9)
    curve.set_ylabel("RMS distance to the fine solution", fontsize=9)
    curve.set_xticks([nfe[n] for n in shown], [str(nfe[n]) for n in shown])
    curve.minorticks_off()
    quiet(curve)
    return figure
