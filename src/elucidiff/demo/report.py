"""``report.html``: what was done and what came of it, from the numbers that the study saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from elucidiff.design import steps
from elucidiff.figures import budget, grid, loss_per_sigma, neighbours, trajectory
from elucidiff.figures import steps as steps_figure
from elucidiff.figures.page import Section, Table, write_page
from elucidiff.figures.style import save


def write_report(run_dir: Path) -> Path:
    """Draw the figures into ``run_dir/figures`` and bind them into ``run_dir/report.html``.

    Args:
        run_dir: where ``results.json`` and ``numbers.npz`` of the study are.

    Returns:
        The path of the report, which needs no other file.
    """
    results = json.loads((run_dir / "results.json").read_text(encoding="utf-8"))
    with np.load(run_dir / "numbers.npz", allow_pickle=False) as file:
        numbers = {name: file[name] for name in file.files}
    figures = _draw(run_dir / "figures", results, numbers)
    lead = (
        f"A class-conditional diffusion model, trained here in {_duration(results['training']['seconds'])} on "
        f"{results['data']['train']:,} real 8x8 digits, drew the samples below with "
        f"{results['sampling']['nfe']} network evaluations each. This page says what was done, and how good the result is."
    )
    sections = [
        _samples(results, figures["grid"]),
        _figures_of_merit(results),
        _trajectory(figures["trajectory"]),
        _loss(figures["loss_per_sigma"]),
        _steps(figures["steps"]),
        _budget(results, figures["budget"]),
        _memory(results, figures["neighbours"]),
        _how(results),
    ]
    return write_page(run_dir / "report.html", "Digits from noise", lead, sections)


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
        "budget": budget.draw(
            {n: numbers[f"budget_{n}"] for n in counts},
            dict(zip(counts, results["budget"]["nfe"], strict=True)),
            dict(zip(counts, results["budget"]["rms"], strict=True)),
        ),
        "neighbours": neighbours.draw(
            {
                "samples": numbers["distance_samples"],
                "real digits that the model never saw": numbers["distance_held_out"],
            },
            numbers["closest_samples"],
            numbers["closest_training"],
        ),
    }
    return {name: save(drawing, folder / name)[0] for name, drawing in drawings.items()}


def _samples(results: dict[str, Any], figure: Path) -> Section:
    return Section(
        "Samples beside real digits",
        [
            f"Left: {results['sampling']['images']} samples, ten of each class, not selected: the seeds are 0 to "
            f"{results['sampling']['images'] - 1}. Right: real digits that were held out of the training.",
        ],
        figure,
        "Ten rows of generated digits beside ten rows of real ones",
    )


def _figures_of_merit(results: dict[str, Any]) -> Section:
    quality, real = results["quality"], results["real"]
    ratio = quality["frechet"] / real["frechet"]
    return Section(
        "How good are they?",
        [
            "Each figure stands beside the value that real digits reach. A classifier (scikit-learn's support vector machine, trained "
            "on the real training digits) says whether a sample shows the class that was asked for; it errs itself, on real digits, as "
            "often as the right column says. The Frechet distance compares mean and covariance of "
            f"{results['data']['components']} principal components with those of the held-out digits; even real digits do not reach 0, "
            "because both sides are small sets. Both sides have as many images.",
        ],
        table=Table(
            ["figure", "samples", "real digits"],
            [
                [
                    "label accuracy",
                    f"{quality['accuracy']:.1%} (n = {quality['accuracy_n']:,})",
                    f"{real['accuracy']:.1%} (held-out, n = {results['data']['held_out']})",
                ],
                [
                    "Frechet distance on PCA features",
                    f"{quality['frechet']:.3f} ± {quality['frechet_std']:.3f} ({ratio:.2f} x real)",
                    f"{real['frechet']:.3f} ± {real['frechet_std']:.3f}",
                ],
                [
                    "median distance to the nearest training image",
                    f"{quality['nearest_median']:.3f}",
                    f"{real['nearest_median']:.3f}",
                ],
            ],
        ),
    )


def _trajectory(figure: Path) -> Section:
    return Section(
        "From noise to digit",
        [
            "Upper rows: the state x, noise at first, at falling noise levels sigma (its contrast is kept equal, so that it can be seen). "
            "Lower rows: D(x; sigma), the network's best guess of the clean image. At high noise the guess is the mean of the class; "
            "detail comes in as the noise falls.",
        ],
        figure,
        "Noisy states above the denoiser's outputs, from high to low noise",
    )


def _loss(figure: Path) -> Section:
    return Section(
        "What the network learned, by noise level",
        [
            "The weighted loss of the paper's Eq. 8, per pixel. At very low noise nothing can be learned (the noise drowns in the detail), at "
            "very high noise there is little to learn (the mean is the answer): so training looks in between, where p_train is high. "
            "Where the curve of the held-out digits lies above that of the digits trained on, the network begins to memorise.",
        ],
        figure,
        "Loss against noise level before and after training",
    )


def _steps(figure: Path) -> Section:
    return Section(
        "Where the sampler spends its steps",
        [
            "Noise levels of the samples above (rho = 7) and of two other values of rho. A larger rho takes shorter steps at low noise, "
            "where errors are seen, and longer ones at high noise.",
        ],
        figure,
        "Noise level against step for three values of rho",
    )


def _budget(results: dict[str, Any], figure: Path) -> Section:
    return Section(
        "The same seeds, more and fewer steps",
        [
            "The probability-flow ODE takes a seed to one image; a solver only approximates it. So the same seeds give nearly the same "
            "images at 18 and at 64 steps, and poorer ones at 2. The curve shows the distance to a solution with "
            f"{results['budget']['reference_steps']} steps: Heun's method is of second order, so it falls about fourfold when the number of "
            "steps doubles.",
        ],
        figure,
        "Rows of the same digits at 2 to 64 steps, and the error against the number of evaluations",
    )


def _memory(results: dict[str, Any], figure: Path) -> Section:
    share = results["quality"]["closer_than_real"]
    return Section(
        "Memory or learning?",
        [
            "A model that copies its training set would show samples much closer to it than unseen real digits are. "
            f"Here {share:.0%} of the samples lie closer to a training image than the closest 5% of unseen real digits do; "
            "5% is what a faithful model would show.",
        ],
        figure,
        "Distribution of nearest-neighbour distances, and the closest pairs",
    )


def _how(results: dict[str, Any]) -> Section:
    training, sampling, machine, model = (results[key] for key in ("training", "sampling", "machine", "model"))
    return Section(
        "How it was made",
        ["The command was `elucidiff demo`; everything below is in results.json beside this page."],
        table=Table(
            ["", ""],
            [
                [
                    "data",
                    f"{results['data']['name']}: {results['data']['train']:,} to train on, {results['data']['held_out']} held out",
                ],
                ["network", f"{model['architecture']}, {model['parameters'] / 1e6:.2f} million parameters"],
                [
                    "training",
                    f"{training['images']:,} images in {_duration(training['seconds'])}, batch {training['batch_size']}",
                ],
                ["sampling", f"Heun, {sampling['steps']} steps, {sampling['nfe']} evaluations an image, counted"],
                ["speed", f"{sampling['images']} samples in {sampling['seconds']:.1f} s"],
                [
                    "machine",
                    f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}, device {machine['device']}",
                ],
                ["elucidiff", results["version"]],
            ],
        ),
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.1f} minutes"
