"""``elucidiff interpolate MODEL``: the way from one sample to the next, through the latent space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

import elucidiff
from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.samples import write_account, write_samples
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.data.scaling import scaling_of
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.opening import checksum, load_guide
from elucidiff.devices import choose_device
from elucidiff.launch.output_folder import check_empty
from elucidiff.sampling.encoding import usual_both_ways
from elucidiff.sampling.given import read_given
from elucidiff.sampling.interpolation import TOLERANCE, Interpolation, interpolate_samples, interpolate_seeds
from elucidiff.sampling.seeds import parse_seeds


@dataclass(frozen=True)
class Options:
    """Draw the way between seeds, or between pictures, which the ODE first takes to their latents.

    Latents turn along the sphere on which Gaussian noise lives. The frames at seeds are those of `elucidiff sample`.

    Examples::

        elucidiff interpolate runs/demo/model --seeds 0,1,2 --frames 8
        elucidiff interpolate runs/photos/model --images one.png two.png
    """

    model: tyro.conf.Positional[Path]
    """A model folder, a model of another library, or your own code that makes one, package.module:function."""
    seeds: str | None = None
    """Seeds to go through: 0,1,2."""
    images: tuple[Path, ...] = ()
    """Pictures, or .npy files of samples, to go through instead."""
    frames: int = 9
    """Frames from one to the next, both of them included."""
    labels: str | None = None
    """Classes, by number or name, or one label vector, or a .npy file: one for all frames, or one for each seed or
    picture; then the rows of numbers that stand for labels are mixed in between. If it is left out, each seed draws
    its own class, as often as the training data had it (uniform: all equally often)."""
    any_class: bool = False
    """Take --labels even if the training data had no image of that class."""
    out: Path = Path("interpolation")
    """Folder to write to: a file a frame, sheet.png and interpolation.json."""
    overwrite: bool = False
    """Write into a folder that already holds files."""
    batch_size: int = 16
    """Samples in one call of the network."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""

    sampling: Annotated[SamplingChoices, tyro.conf.arg(name="")] = field(default_factory=SamplingChoices)
    """How to sample, without noise, between seeds as for `elucidiff sample`; between pictures by default with
    rk45:rtol=1e-5,atol=1e-5, or fixed steps of heun, rk2 or euler, which are 64, and without guidance."""


def run(arguments: Sequence[str]) -> int:
    """Draw the frames; see ``Options``."""
    options = parse(Options, arguments, prog="elucidiff interpolate")
    if (options.seeds is None) == (not options.images):
        raise ValueError("give either --seeds or --images to go through")
    if options.batch_size < 1:
        raise ValueError(f"--batch-size is {options.batch_size}, but must be at least 1")
    denoiser = elucidiff.load(options.model, choose_device(options.device))
    denoiser.known_labels.refuse_field("interpolation")
    if not options.overwrite:
        check_empty(options.out)
    way, through, found = (
        _between_pictures(options, denoiser) if options.images else _between_seeds(options, denoiser)
    )

    samples = scaling_of(denoiser).to_data(way.x)
    files = write_samples(options.out, [f"{k:04d}" for k in range(len(samples))], samples)
    rows = [None] * len(files) if way.labels is None else way.labels.tolist()
    facts = {
        "elucidiff": elucidiff.__version__,
        "model": str(options.model),
        "checksum": checksum(options.model),
        "through": through,
        "sampler": way.sampler.to_plain(),
        **found,
        "frames": [
            {"file": file, "after": through[k], "weight_of_the_next": w, **({} if row is None else {"label": row})}
            for file, (k, w), row in zip(files, way.places, rows, strict=True)
        ],
    }
    # A row a stretch; the last frame of one is the first of the next.
    stretches = range(0, len(way.x) - 1, options.frames - 1)
    sheet = torch.cat([samples[start : start + options.frames] for start in stretches])
    write_account(options.out, "interpolation.json", sheet, options.frames, facts)
    print(f"{len(files)} frames in {options.out}")
    if way.labels is not None:
        alike = bool((way.labels == way.labels[0]).all())
        print("all frames have the same label" if alike else "labels are mixed between those of both ends")
    if way.round_trip is not None:
        worst = float(way.round_trip.max())
        span = "in [-1, 1]" if scaling_of(denoiser).eight_bits else "as the model sees them"
        print(f"pictures come back with a root mean square error of at most {worst:.2g} (values are {span})")
    return 0


_Drawn = tuple[Interpolation, list[str], dict[str, Any]]


def _between_seeds(options: Options, denoiser: DenoiserModule) -> _Drawn:
    """The frames, what they go through, and what there is to say about them."""
    assert options.seeds is not None
    seeds, guide = parse_seeds(options.seeds), options.sampling.guide
    way = interpolate_seeds(
        denoiser,
        seeds,
        options.frames,
        sampler=options.sampling.choice(options.model),
        labels=options.labels,
        any_class=options.any_class,
        guide=None if guide is None else load_guide(guide, options.model, denoiser.device),
        batch_size=options.batch_size,
    )
    facts = {"nfe": torch.as_tensor(way.nfe).tolist()}
    return way, [f"seed {seed}" for seed in seeds], facts | ({} if guide is None else {"guide": checksum(guide)})


def _between_pictures(options: Options, denoiser: DenoiserModule) -> _Drawn:
    """The same for pictures."""
    sampler = options.sampling.both_ways(options.model, usual_both_ways(denoiser, TOLERANCE))
    given = [read_given(file, denoiser) for file in options.images]
    for file, x in zip(options.images, given, strict=True):
        if tuple(x.shape) != denoiser.sample_shape:
            raise ValueError(f"{file} has shape {tuple(x.shape)}, but the model makes {denoiser.sample_shape}")
    way = interpolate_samples(
        denoiser,
        torch.stack(given),
        options.frames,
        sampler=sampler,
        labels=options.labels,
        any_class=options.any_class,
        batch_size=options.batch_size,
    )
    assert way.round_trip is not None
    facts = {
        "sigma_max": float(way.sigmas[0]),
        "sigma_min": float(way.sigmas[-2]),
        "round_trip_rms": way.round_trip.tolist(),
        "nfe_encode": torch.as_tensor(way.nfe_encode).tolist(),
        "nfe_decode": torch.as_tensor(way.nfe).tolist(),
    }
    return way, [str(file) for file in options.images], facts
