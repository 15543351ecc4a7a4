"""``elucidiff doctor [MODEL [DATA]]``: whether this machine has what is needed, and whether a model denoises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

import elucidiff
from elucidiff import interop
from elucidiff.cli.common.arguments import parse
from elucidiff.data import Dataset
from elucidiff.data.scaling import scaling_of
from elucidiff.data.subsets import evenly_spread
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.evaluation.model_and_data import labels_of, open_model_and_data
from elucidiff.examination import Finding, examine
from elucidiff.interop.checking import Check
from elucidiff.sampling.given import labels_asked_for


@dataclass(frozen=True)
class Options:
    """Check this machine, or that a model really denoises.

    Without MODEL: PyTorch, device, threads, memory, compiler, disk and optional extras, and what each of them gives.

    With one, noise is added to images at some noise levels, and the model removes it.

    A network that is read as what it is not (epsilon for x_0, images in [0, 1] for [-1, 1], time the other way) fails
    in no other way than by bad samples. What it is instead is found by trying. Without DATA, the model's own samples
    take its place; then the units of the data are not looked at. The exit code is 2 if the model does not denoise.

    Examples::

        elucidiff doctor
        elucidiff doctor runs/demo/model digits
    """

    model: tyro.conf.Positional[Path | None] = None
    """A model folder, a model of another library, or your own code that makes one, package.module:function. Without
    it, this machine is looked at."""
    data: tyro.conf.Positional[str | None] = None
    """Name or path of a data set like the one that it was trained on."""
    images: int = 16
    """Number of images, evenly spread over the data, or drawn."""
    labels: str | None = None
    """Labels of the images or samples, taken in turn (those of the data, or drawn), as for `elucidiff sample`; for a
    model of encoded texts and the like, a .npy of them."""
    seed: int = 0
    """Of the noise."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""


def run(arguments: Sequence[str]) -> int:
    """Check, tell, and return the exit code; see ``Options``."""
    options = parse(Options, arguments, prog="elucidiff doctor")
    if options.model is None:
        _print(examine())
        return 0
    if options.images < 2:
        raise ValueError(f"--images is {options.images}, but must be at least 2")
    if options.data is None:
        denoiser = elucidiff.load(options.model, options.device)
        found = interop.check(denoiser, labels=_labels(options, denoiser), count=options.images, seed=options.seed)
    else:
        denoiser, dataset = open_model_and_data(options.model, options.data, options.device)
        found = check_on(denoiser, dataset, options.images, options.seed, _labels(options, denoiser))
    if not found.fits:
        raise ValueError(f"{options.model}: {found}")
    print(f"{options.model}: {found}")
    return 0


def _print(findings: Sequence[Finding]) -> None:
    """A line each, and below it what to do."""
    for finding in findings:
        mark = " " if finding.ok else "!"
        print(f"{mark} {finding.subject:<16} {finding.found}")
        if finding.advice:
            print(f"  {'':<16} -> {finding.advice}")


def _labels(options: Options, denoiser: DenoiserModule) -> Tensor | None:
    if options.labels is None:
        return None
    rows = denoiser.known_labels.rows(labels_asked_for(options.labels, denoiser, any_class=True))
    return rows[torch.arange(options.images) % len(rows)]


def check_on(
    denoiser: DenoiserModule, dataset: Dataset, count: int, seed: int = 0, labels: Tensor | None = None
) -> Check:
    """:func:`elucidiff.interop.check` on images evenly spread over a data set, with their labels, or others.

    Raises:
        ValueError: the data are none that the model can take.
    """
    places = torch.from_numpy(evenly_spread(np.arange(len(dataset)), count))
    given = labels_of(dataset, denoiser, places, dataset.name) if labels is None else labels[: len(places)]
    return interop.check(
        denoiser, scaling_of(denoiser).to_model(dataset.images(places)), given, count=count, seed=seed
    )
