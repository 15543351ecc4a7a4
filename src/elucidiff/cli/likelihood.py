"""``elucidiff likelihood MODEL DATA``: how many bits the model needs for each value of the data."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

import elucidiff
from elucidiff import data
from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.progress import Progress
from elucidiff.cli.common.sampling import SamplingChoices, check_follows_ode
from elucidiff.data.dataset import Dataset
from elucidiff.data.scaling import to_unit
from elucidiff.data.subsets import evenly_spread
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.opening import checksum
from elucidiff.design.steps import Karras
from elucidiff.devices import choose_device
from elucidiff.evaluation.model_and_data import Part, labels_of, part_of
from elucidiff.launch.interrupt import Terminated, sigterm_raises
from elucidiff.launch.output_folder import file_held
from elucidiff.sampling.given import check_range_of_values
from elucidiff.sampling.grid import usual_range
from elucidiff.sampling.label_choice import labels_asked_for
from elucidiff.sampling.likelihood.divergence import is_exact
from elucidiff.sampling.likelihood.measuring import ImageBits, Likelihood, measure, read_record, summary, write_record
from elucidiff.sampling.sampler import Sampler
from elucidiff.solvers import RK45


@dataclass(frozen=True)
class Options:
    """Measure the log-likelihood of data under a trained model, in bits for each value (bits/dim).

    What was stopped goes on with the same command.
    """

    model: tyro.conf.Positional[Path]
    """A model folder, a model of another library, or your own code that makes one, package.module:function."""
    data: tyro.conf.Positional[str]
    """A data set, as for training: digits, fashion-mnist:test, or a path."""
    images: int = 100
    """Number of images, evenly spread over the data; all if there are fewer."""
    part: Part = "auto"
    """Which images: those held out in training, those trained on, or all. auto: what was held out, where these are
    the data that the model was trained on."""
    labels: str | None = None
    """Labels instead of the data's own: one for all images, or a .npy file with one for each."""
    out: Path = Path("likelihood.json")
    """File to write; if the same measurement was begun there, it goes on."""
    overwrite: bool = False
    """Begin anew."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""

    repeats: int | None = None
    """Measurements of each image, each with its own dequantisation and probes (1)."""
    seed: int | None = None
    """Of dequantisation and probes (0)."""
    divergence: Literal["auto", "exact", "hutchinson"] | None = None
    """How the trace of the Jacobian is found: exactly, with a backward pass for each value of a sample, or by random
    probes. auto: exactly for up to 32 values."""
    probe: Literal["rademacher", "gaussian"] | None = None
    """Distribution of the probes."""
    probes: int | None = None
    """Probes of each repeat (1)."""
    batch_size: int | None = None
    """Samples in one call of the network (16)."""

    sampling: Annotated[SamplingChoices, tyro.conf.arg(name="")] = field(default_factory=SamplingChoices)
    """How the ODE is followed from the images, at sigma_min of --steps, to the prior, at sigma_max: by default with
    rk45:rtol=1e-4,atol=1e-4, from 0.002 to 80, or 0.004 to 160 times the standard deviation of data that are not
    8-bit; fixed steps, such as those of heun, are 64. Noise and guidance have no place here."""

    def choices(self, denoiser: DenoiserModule) -> Likelihood:
        """The choices that were made, and defaults for the others.

        Raises:
            ValueError: a value is out of its range, or would have no effect.
        """
        usual = Sampler(Karras(64, *usual_range(denoiser)), solver=RK45(1e-4, 1e-4))
        sampler = self.sampling.chosen(self.model, usual)
        check_follows_ode(sampler, self.sampling)
        names = ("repeats", "seed", "divergence", "probe", "probes", "batch_size")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        choices = Likelihood(steps=sampler.steps, solver=sampler.solver, schedule=sampler.schedule, **given)
        exact = is_exact(choices.divergence, torch.Size(denoiser.sample_shape).numel())
        if exact and (wrong := sorted({"probe", "probes"} & given.keys())):
            flags = ", ".join(f"--{name}" for name in wrong)
            raise ValueError(
                f"{flags} would have no effect with exact divergence: leave it out, or choose --divergence hutchinson"
            )
        return choices


def run(arguments: Sequence[str]) -> int:
    """Measure, and tell the mean and its standard error; see ``Options``.

    Ctrl-C and SIGTERM end it at once, with 130 and 0; what was measured is kept.
    """
    options = parse(Options, arguments, prog="elucidiff likelihood")
    if options.images < 1:
        raise ValueError(f"--images is {options.images}, but must be at least 1")
    device = choose_device(options.device)
    denoiser = elucidiff.load(options.model, device)
    choices = options.choices(denoiser)
    choices.sigmas(denoiser)  # refuses a range that the model does not know
    dataset = _checked(data.open(options.data), denoiser, options)
    places, called = part_of(dataset, denoiser, options.part)
    images = torch.from_numpy(evenly_spread(places.numpy(), options.images))
    labels = _labels(options, dataset, denoiser, images)
    shown = dataset.images(images)
    if shown.is_floating_point():
        check_range_of_values(options.data, to_unit(shown), denoiser)
    facts: dict[str, Any] = {
        "elucidiff": elucidiff.__version__,
        "model": checksum(options.model),
        "data": _sha256(shown),
        "labels": None if labels is None else _sha256(labels),
        "images": called,
        "choices": choices.to_plain(),
        "device": device.type,
    }
    with file_held(options.out):
        return _measure(options, choices, facts, denoiser, dataset, images, labels)


def _measure(
    options: Options,
    choices: Likelihood,
    facts: dict[str, Any],
    denoiser: DenoiserModule,
    dataset: Dataset,
    images: Tensor,
    labels: Tensor | None,
) -> int:
    """Measure what is not there yet, tell all, and return the exit code."""
    device = denoiser.device
    done = [] if options.overwrite else read_record(options.out, facts)
    known = {each.image for each in done}
    todo = [k for k, image in enumerate(images.tolist()) if image not in known]
    try:
        with sigterm_raises(), Progress("likelihood", len(images), "images") as progress:
            progress.reach(len(done))
            rows = None if labels is None else labels[todo]
            for measured in measure(denoiser, dataset, images[todo].tolist(), choices, labels=rows, device=device):
                done += measured
                write_record(options.out, facts, done, len(images))
                progress.reach(len(done))
    except KeyboardInterrupt as stopped:
        kept = f"{len(done)} of {len(images)} images are in {options.out}" if done else "nothing was measured yet"
        print(f"stopped: {kept}; the same command goes on from here", file=sys.stderr)
        return 0 if isinstance(stopped, Terminated) else 130
    _tell(options, choices, done, facts["images"], dataset.dtype == torch.uint8)
    return 0


def _checked(dataset: Dataset, denoiser: DenoiserModule, options: Options) -> Dataset:
    if dataset.shape != denoiser.sample_shape:
        raise ValueError(
            f"the images of {options.data} have shape {dataset.shape}, but {options.model} knows samples of shape "
            f"{denoiser.sample_shape}: choose the data that it was trained for"
        )
    return dataset


def _labels(options: Options, dataset: Dataset, denoiser: DenoiserModule, images: Tensor) -> Tensor | None:
    if options.labels is None:
        return labels_of(dataset, denoiser, images, options.data)
    asked = denoiser.known_labels.rows(labels_asked_for(options.labels, denoiser, any_class=True))
    if len(asked) not in (1, len(images)):
        raise ValueError(
            f"--labels {options.labels} are {len(asked)} for {len(images)} images: give one, or one each"
        )
    return asked.expand(len(images), -1)


def _sha256(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()


def _tell(options: Options, choices: Likelihood, done: list[ImageBits], called: str, eight_bits: bool) -> None:
    mean, error, of_an_image = summary(done)
    count = len(done) * choices.repeats
    evaluations = sum(each.nfe for each in done) / count
    backward = sum(each.products for each in done) / count
    density = "" if eight_bits else " (of a density in the data's own units: not comparable with 8-bit numbers)"
    print(
        f"{mean:.4f}{'' if error is None else f' +- {error:.4f}'} bits/dim over {len(done)} {called} of "
        f"{options.data}{density}"
    )
    if of_an_image is not None:
        print(f"standard error of one image by its {choices.repeats} repeats: {of_an_image:.4f}")
    print(f"{evaluations:.1f} network evaluations and {backward:.1f} backward passes a measurement; {options.out}")
