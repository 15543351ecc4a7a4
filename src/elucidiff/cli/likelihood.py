"""``elucidiff likelihood MODEL DATA``: how many bits the model needs for each value of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.progress import Telling
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.evaluation.likelihood import TOLERANCE, measure_likelihood
from elucidiff.evaluation.model_and_data import Part
from elucidiff.launch.interrupt import Terminated, sigterm_raises
from elucidiff.sampling.encoding import usual_both_ways
from elucidiff.sampling.likelihood.density import is_exact
from elucidiff.sampling.likelihood.measuring import Likelihood, summary


@dataclass(frozen=True)
class Options:
    """Measure the log-likelihood of data under a trained model, in bits for each value (bits/dim).

    What was stopped goes on with the same command.

    Examples::

        elucidiff likelihood runs/demo/model digits --images 100
        elucidiff likelihood runs/demo/model digits --part held-out --divergence exact
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
        sampler = self.sampling.both_ways(self.model, usual_both_ways(denoiser, TOLERANCE))
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
    try:
        with sigterm_raises():
            found = measure_likelihood(
                options.model,
                options.data,
                options.choices,
                images=options.images,
                part=options.part,
                labels=options.labels,
                out=options.out,
                overwrite=options.overwrite,
                device=options.device,
                watch=Telling(),
            )
    except KeyboardInterrupt as stopped:
        return 0 if isinstance(stopped, Terminated) else 130
    mean, error, of_an_image = summary(found.measured)
    density = " (of a density in the data's own units: not comparable with 8-bit numbers)"
    print(
        f"{mean:.4f}{'' if error is None else f' +- {error:.4f}'} bits/dim over {len(found.measured)} {found.called} "
        f"of {options.data}{'' if found.eight_bits else density}"
    )
    if of_an_image is not None:
        print(f"standard error of one image by its {found.choices.repeats} repeats: {of_an_image:.4f}")
    count = len(found.measured) * found.choices.repeats
    evaluations, backward = (sum(getattr(each, n) for each in found.measured) / count for n in ("nfe", "products"))
    print(f"{evaluations:.1f} network evaluations and {backward:.1f} backward passes a measurement; {options.out}")
    return 0
