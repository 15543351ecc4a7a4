"""Bits that a model needs for each value of a data set: a measurement that is kept, and goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import elucidiff
from elucidiff import data as data_sets
from elucidiff.data.dataset import Dataset
from elucidiff.data.scaling import scaling_of
from elucidiff.data.subsets import evenly_spread
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.opening import checksum
from elucidiff.devices import choose_device
from elucidiff.evaluation.model_and_data import Part, check_shapes, digest_of, labels_of, part_of
from elucidiff.launch.interrupt import Watch
from elucidiff.launch.output_folder import file_held
from elucidiff.notebooks import table_html
from elucidiff.sampling.encoding import usual_both_ways
from elucidiff.sampling.given import check_range_of_values, labels_asked_for, labels_or_uniform
from elucidiff.sampling.likelihood.measuring import (
    ImageBits,
    Likelihood,
    measure,
    read_record,
    summary,
    write_record,
)

TOLERANCE = 1e-4
"""Of RK45, where nobody chooses how the ODE is followed."""


@dataclass(frozen=True)
class MeasuredLikelihood:
    """The likelihoods of images under a model.

    Attributes:
        measured: of each image; see :func:`.summary` for their mean and its error.
        choices: how.
        called: the images, such as "held-out images".
        eight_bits: whether they are 8-bit images, whose bits/dim can be compared with those of papers.

    >>> import elucidiff as ed
    >>> measured = [ImageBits(image, (bits,), nfe=12, products=12) for image, bits in enumerate((2.0, 3.0))]
    >>> found = ed.evaluation.MeasuredLikelihood(measured, ed.sampling.Likelihood(), "images", True)
    >>> found.bits_per_dim
    2.5
    """

    measured: list[ImageBits]
    choices: Likelihood
    called: str
    eight_bits: bool

    def _repr_html_(self) -> str:
        """Bits/dim and their error, for notebooks."""
        mean, error, _ = summary(self.measured)
        value = f"{mean:.4g}" if error is None else f"{mean:.4g} ± {error:.2g}"
        return table_html(f"Likelihood of {len(self.measured)} {self.called}", [("bits/dim", value)])

    @property
    def bits_per_dim(self) -> float:
        """The mean over the images."""
        return sum(each.mean for each in self.measured) / len(self.measured)


def measure_likelihood(
    model: str | os.PathLike[str],
    data: str,
    choices: Likelihood | Callable[[DenoiserModule], Likelihood] | None = None,
    *,
    images: int = 100,
    part: Part = "auto",
    labels: str | Tensor | Sequence[Any] | None = None,
    out: str | os.PathLike[str] = "likelihood.json",
    overwrite: bool = False,
    device: str = "auto",
    watch: Watch | None = None,
) -> MeasuredLikelihood:
    """Measure bits/dim of images of a data set, and keep them; what was stopped goes on with the same call.

    Args:
        model: a model folder, or what else :func:`elucidiff.load` opens.
        data: name or path of the data set.
        choices: how; or what makes them for the model. None follows the ODE with RK45 and tolerances of 1e-4.
        images: how many, evenly spread over the part.
        part: of the data; see :func:`.part_of`.
        labels: one for all images, or one each; None for those of the data set.
        out: the file that keeps what was measured.
        overwrite: forget what is in it.
        device: where to compute.
        watch: is told how it goes.

    Raises:
        ValueError: something does not fit, or the file is of another measurement.
        OSError: something cannot be read or written.

    >>> import elucidiff as ed
    >>> import tempfile
    >>> network = ed.networks.UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
    >>> few = ed.sampling.Likelihood(steps=ed.steps.Karras(3), solver=ed.solvers.Euler(), divergence="hutchinson")
    >>> with tempfile.TemporaryDirectory() as run:
    ...     ed.Denoiser(network, ed.preconditioning.EDM()).save(f"{run}/model")
    ...     found = ed.evaluation.measure_likelihood(f"{run}/model", "digits", few, images=2, out=f"{run}/bits.json")
    ...
    >>> len(found.measured), found.called, found.measured[0].nfe
    (2, 'images', 2)
    """
    watch, path = watch or Watch(), Path(out)
    if images < 1:
        raise ValueError(f"--images is {images}, but must be at least 1")
    denoiser: DenoiserModule = elucidiff.load(model, choose_device(device))
    denoiser.known_labels.refuse_field("the likelihood of a data set")
    if choices is None:
        usual = usual_both_ways(denoiser, TOLERANCE)
        choices = Likelihood(steps=usual.steps, solver=usual.solver)
    elif not isinstance(choices, Likelihood):
        choices = choices(denoiser)
    choices.sigmas(denoiser)  # refuses a range that the model does not know
    dataset = data_sets.open(data)
    check_shapes(denoiser, dataset)
    places, called = part_of(dataset, denoiser, part)
    chosen = torch.from_numpy(evenly_spread(places.numpy(), images))
    rows = _labels(labels, dataset, denoiser, chosen, data)
    shown = dataset.images(chosen)
    if shown.is_floating_point():
        check_range_of_values(data, scaling_of(denoiser).to_model(shown), denoiser)
    facts: dict[str, Any] = {
        "elucidiff": elucidiff.__version__,
        "model": checksum(model),
        "data": digest_of(shown),
        "labels": None if rows is None else digest_of(rows),
        "images": called,
        "choices": choices.to_plain(),
        "device": denoiser.device.type,
    }
    with file_held(path):
        done = [] if overwrite else read_record(path, facts)
        _measure_missing(denoiser, dataset, chosen, choices, rows, done, path, facts, watch)
    return MeasuredLikelihood(done, choices, called, dataset.dtype == torch.uint8)


def _measure_missing(
    denoiser: DenoiserModule,
    dataset: Dataset,
    images: Tensor,
    choices: Likelihood,
    labels: Tensor | None,
    done: list[ImageBits],
    path: Path,
    facts: dict[str, Any],
    watch: Watch,
) -> None:
    """Measure the images that are not among ``done``, and append them to it as they are written."""
    known = {each.image for each in done}
    todo = [k for k, image in enumerate(images.tolist()) if image not in known]
    rows = None if labels is None else labels[todo]
    try:
        with watch.bar("likelihood", len(images), "images") as bar:
            bar.reach(len(done))
            for some in measure(
                denoiser, dataset, images[todo].tolist(), choices, labels=rows, device=denoiser.device
            ):
                done += some
                write_record(path, facts, done, len(images))
                bar.reach(len(done))
    except KeyboardInterrupt:
        kept = f"{len(done)} of {len(images)} images are in {path}" if done else "nothing was measured yet"
        watch.note(f"stopped: {kept}; the same command goes on from here")
        raise


def _labels(
    asked: str | Tensor | Sequence[Any] | None,
    dataset: Dataset,
    denoiser: DenoiserModule,
    images: Tensor,
    name: str,
) -> Tensor | None:
    if asked is None:
        return labels_of(dataset, denoiser, images, name)
    if isinstance(asked, str):
        found: Any = labels_asked_for(asked, denoiser, any_class=True)
    else:
        found = labels_or_uniform(asked, denoiser, any_class=True)
    rows = denoiser.known_labels.rows(found)
    if len(rows) not in (1, len(images)):
        raise ValueError(f"--labels {asked} are {len(rows)} for {len(images)} images: give one, or one each")
    return rows.expand(len(images), *rows.shape[1:])
