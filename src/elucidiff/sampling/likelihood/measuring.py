"""bits/dim of the images of a data set, each as often as asked for, with standard errors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.data.dataset import Dataset
from elucidiff.data.scaling import Transparent, scaling_of
from elucidiff.denoisers.base import DenoiserLike, as_denoiser
from elucidiff.denoisers.conditions import Conditions, each, selected
from elucidiff.design.schedules import EDM, Schedule
from elucidiff.design.steps import Karras, Steps
from elucidiff.devices import widest_type
from elucidiff.files import write_whole
from elucidiff.plain_data import plain_value
from elucidiff.sampling.encoding import check_both_ways
from elucidiff.sampling.grid import range_of
from elucidiff.sampling.likelihood.density import METHODS, PROBES, bits_per_dim, dequantise, log_likelihood
from elucidiff.sampling.seeds import SeededNoise
from elucidiff.solvers import RK45, Solver
from elucidiff.suggest import suggestion
from elucidiff.untrusted import read_json


def write_record(path: Path, facts: Mapping[str, Any], measured: Sequence[ImageBits], asked: int) -> None:
    """Write what was measured so far as JSON, whole.

    Args:
        path: the file.
        facts: what decides the figures: :func:`read_record` takes them for no other measurement's.
        measured: the images so far; at least one.
        asked: how many images were asked for.

    Raises:
        OSError: the file cannot be written.
    """
    mean, error, of_an_image = summary(measured)
    count = sum(len(each.bits) for each in measured)
    record = {
        "measurement": dict(facts),
        "summary": {
            "bits_per_dim": mean,
            "standard_error": error,
            "standard_error_of_an_image": of_an_image,
            "images": len(measured),
            "images_asked_for": asked,
            "nfe_mean": sum(each.nfe for each in measured) / count,
            "backward_passes_mean": sum(each.products for each in measured) / count,
        },
        "images": [
            {
                "image": each.image,
                "bits_per_dim": each.mean,
                "standard_error": repeat_error(each),
                "repeats": list(each.bits),
                "nfe": each.nfe,
                "backward_passes": each.products,
            }
            for each in measured
        ],
    }
    write_whole(path, json.dumps(record, indent=1) + "\n")


def read_record(path: Path, facts: Mapping[str, Any]) -> list[ImageBits]:
    """The images that were measured already; none if there is no file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is of another measurement, or of something else.
    """
    if not path.exists():
        return []
    try:
        record = read_json(path)
        before = dict(record["measurement"])
        measured = [
            ImageBits(
                int(each["image"]), tuple(map(float, each["repeats"])), int(each["nfe"]), int(each["backward_passes"])
            )
            for each in record["images"]
        ]
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        raise ValueError(f"{path} is not a record of likelihoods: choose another --out, or add --overwrite") from None
    # Through JSON and back, as the other was.
    differing = [name for name, value in json.loads(json.dumps(dict(facts))).items() if before.get(name) != value]
    if differing:
        raise ValueError(
            f"{path} is of another measurement ({', '.join(differing)} differ): choose another --out, or add "
            "--overwrite"
        )
    return measured


# Samples leave RK45 one by one. Several batches at a time keep the denoiser's batches full for longer.
_BATCHES_AT_ONCE = 4


@dataclass(frozen=True)
class Likelihood:
    """All choices of a measurement.

    Args:
        repeats: measurements of each image, each with its own dequantisation and probes.
        seed: of all of them. Those of an image depend on the seed, the image's place in the data set and the number
            of the repeat alone.
        steps: noise levels, from that of the prior to that at which the images are taken to be, in units of the data;
            for RK45 only these two matter.
        solver: RK45, or Heun, RK2 or Euler with fixed steps.
        schedule: the curve that the solver follows.
        divergence: exact, hutchinson, or auto; see :func:`.divergence_of`.
        probe: rademacher or gaussian.
        probes: probes of each repeat.
        batch_size: samples in a call of the denoiser.

    Raises:
        ValueError: a name is unknown, a value is out of its range, or the solver cannot go from data to noise.

    >>> import elucidiff as ed
    >>> ed.sampling.Likelihood(solver=ed.solvers.Heun(), repeats=4).repeats
    4
    """

    repeats: int = 1
    seed: int = 0
    steps: Steps = field(default_factory=lambda: Karras(64))
    solver: Solver = field(default_factory=lambda: RK45(1e-4, 1e-4))
    schedule: Schedule = field(default_factory=EDM)
    divergence: str = "auto"
    probe: str = "rademacher"
    probes: int = 1
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name, allowed in (("divergence", METHODS), ("probe", PROBES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; {suggestion(getattr(self, name), allowed)}")
        for name, least in (("repeats", 1), ("probes", 1), ("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least {least}")
        check_both_ways(self.solver)

    def sigmas(self, denoiser: DenoiserLike) -> Tensor:
        """The noise levels, within the denoiser's range.

        Raises:
            ValueError: nothing of the range is left, or it is a single level.
        """
        sigmas = self.steps.within(*range_of(denoiser))
        if len(sigmas) < 3:
            raise ValueError(f"steps {parts.to_text(self.steps)} have a single noise level: two or more are needed")
        return sigmas

    def to_plain(self) -> dict[str, Any]:
        """All choices as JSON-able values."""
        return {entry.name: plain_value(getattr(self, entry.name)) for entry in fields(self)}


@dataclass(frozen=True)
class ImageBits:
    """The measurements of one image.

    Attributes:
        image: its place in the data set.
        bits: bits/dim of each repeat.
        nfe: network evaluations of all repeats together.
        products: backward passes of all repeats together.
    """

    image: int
    bits: tuple[float, ...]
    nfe: int
    products: int

    @property
    def mean(self) -> float:
        """bits/dim of the image: the mean of the repeats."""
        return float(np.mean(self.bits))


def measure(
    denoiser: DenoiserLike,
    dataset: Dataset,
    images: Sequence[int],
    choices: Likelihood,
    *,
    labels: Conditions | None = None,
    device: torch.device = torch.device("cpu"),  # noqa: B008 (a constant)
) -> Iterator[list[ImageBits]]:
    """Measure images, some at a time.

    Each comes out the same, to the bit, whichever are measured with it: see :class:`.FixedBatch`.

    Args:
        denoiser: on ``device``.
        dataset: uint8 images, which are dequantised, or floating-point ones, which are taken as they are.
        images: which ones.
        choices: how.
        labels: for the denoiser, one row (or class, or condition) for each of ``images``, or one for all; None for a
            denoiser without labels.
        device: where to compute.

    Raises:
        ValueError: the images or labels do not fit the denoiser, or a result is not finite; the message names the
            image.
    """
    group = max(1, _BATCHES_AT_ONCE * choices.batch_size // choices.repeats)
    for start in range(0, len(images), group):
        part = images[start : start + group]
        rows = None if labels is None else selected(labels, slice(start, start + group), len(images))
        yield _measure_or_name(denoiser, dataset, part, choices, rows, device)


def summary(measured: Sequence[ImageBits]) -> tuple[float, float | None, float | None]:
    """Mean bits/dim over the images, its standard error, and that of a typical image.

    The standard error of the mean is that of the images as draws from their distribution: their standard deviation
    over the square root of their number, which has in it what dequantisation and probes add. None for a single image.

    That of an image is over its repeats; root mean square over the images, None for a single repeat.
    """
    means = [each.mean for each in measured]
    error = float(np.std(means, ddof=1) / math.sqrt(len(means))) if len(means) > 1 else None
    errors = [repeat_error(each) for each in measured]
    known = [each for each in errors if each is not None]
    return float(np.mean(means)), error, float(np.sqrt(np.mean(np.square(known)))) if known else None


def repeat_error(measured: ImageBits) -> float | None:
    """Standard error of an image's bits/dim over its repeats; None for a single one."""
    count = len(measured.bits)
    return float(np.std(measured.bits, ddof=1) / math.sqrt(count)) if count > 1 else None


def _measure_or_name(
    denoiser: DenoiserLike,
    dataset: Dataset,
    images: Sequence[int],
    choices: Likelihood,
    labels: Conditions | None,
    device: torch.device,
) -> list[ImageBits]:
    """:func:`_measure`, and if that fails each image by itself, so that the one that it fails for can be named."""
    try:
        return _measure(denoiser, dataset, images, choices, labels, device)
    except ValueError as error:
        if len(images) == 1:
            raise ValueError(f"image {images[0]} of {dataset.name}: {error}") from None
    rows = (None if labels is None else selected(labels, slice(k, k + 1), len(images)) for k in range(len(images)))
    parts = zip(images, rows, strict=True)
    return [_measure_or_name(denoiser, dataset, [image], choices, row, device)[0] for image, row in parts]


def _measure(
    denoiser: DenoiserLike,
    dataset: Dataset,
    images: Sequence[int],
    choices: Likelihood,
    labels: Conditions | None,
    device: torch.device,
) -> list[ImageBits]:
    stored = dataset.images(images)
    eight_bits = stored.dtype == torch.uint8
    # All repeats of an image follow each other.
    stored = stored.repeat_interleave(choices.repeats, 0)
    if labels is not None:
        labels = each(labels, lambda value: value if len(value) == 1 else value.repeat_interleave(choices.repeats, 0))
    seeds = [_seeds(choices.seed, image, repeat) for image in images for repeat in range(choices.repeats)]
    scaling = scaling_of(as_denoiser(denoiser))
    if eight_bits:
        if isinstance(scaling, Transparent):
            stored = scaling.to_data(scaling.to_model(stored))  # white under transparent pixels
        x, slope = dequantise(stored, [seed for seed, _ in seeds]), torch.zeros(len(stored), dtype=torch.float64)
    else:
        x, slope = scaling.to_model(stored).double(), scaling.log_slope(stored)
    found = log_likelihood(
        denoiser,
        x.to(device, widest_type(device)),
        choices.sigmas(denoiser),
        solver=choices.solver,
        schedule=choices.schedule,
        labels=labels,
        divergence=choices.divergence,
        probe=choices.probe,
        probes=choices.probes,
        noise=SeededNoise(seed for _, seed in seeds),
        batch_size=choices.batch_size,
    )
    bits = bits_per_dim(found.log_prob.cpu() + slope, x[0].numel(), eight_bits=eight_bits).reshape(len(images), -1)
    nfe, products = (
        torch.as_tensor(count).expand(len(x)).reshape(len(images), -1).sum(1) for count in (found.nfe, found.products)
    )
    columns = (bits.tolist(), nfe.tolist(), products.tolist())
    return [
        ImageBits(int(image), tuple(each), evaluations, backward)
        for image, each, evaluations, backward in zip(images, *columns, strict=True)
    ]


def _seeds(seed: int, image: int, repeat: int) -> tuple[int, int]:
    """Independent seeds for the dequantisation and for the probes of one measurement."""
    dequantisation, probes = np.random.SeedSequence((seed, image, repeat)).generate_state(2).tolist()
    return dequantisation, probes
