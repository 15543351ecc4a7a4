"""``elucidiff restore MODEL PICTURE``: samples that agree with what is known of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

import elucidiff
from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.samples import write_account, write_samples
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.data.latents import Latent
from elucidiff.data.scaling import scaling_of
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.opening import checksum, load_guide
from elucidiff.devices import choose_device
from elucidiff.launch.output_folder import check_empty
from elucidiff.sampling.given import read_given, read_mask
from elucidiff.sampling.inverse import AveragePool, Mask, restore
from elucidiff.sampling.jobs.outputs import file_name
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import parse_seeds


@dataclass(frozen=True)
class Options:
    """Complete a picture where a mask is white, or enlarge a small one: samples of what it may have been.

    The method is Moment-Matching Posterior Sampling (Rozet et al. 2024, arXiv 2405.13712).

    Examples::

        elucidiff restore runs/photos/model photo.png --mask mask.png --seeds 0-3
        elucidiff restore runs/photos/model small.png --upscale 4
    """

    model: tyro.conf.Positional[Path]
    """A model folder, a model of another library, or your own code that makes one, package.module:function."""
    picture: tyro.conf.Positional[Path]
    """A picture, or an .npy array in the units of the data."""
    mask: Path | None = None
    """A picture of the same size, white where something is to be painted; or an .npy of booleans, true there."""
    upscale: int | None = None
    """Enlarge by this factor. A picture that already has the model's size is first averaged down."""
    seeds: str = "0-7"
    """Seeds, one sample each: numbers and ranges, such as 0-63,70."""
    labels: str | None = None
    """Classes, by number or name, or a label vector, taken in turn; uniform: each seed draws one of all classes. For
    a model that was trained with labels."""
    any_class: bool = False
    """Take --labels even if the training data had no image of that class."""
    noise: float = 0.01
    """Standard deviation of the noise of what is known, as the model sees it: a grey level of 8 bits is 0.008, and
    with --normalise standard it is a share of each channel's standard deviation."""
    iterations: int = 3
    """Iterations of the linear solver at each evaluation; each costs a backward pass."""
    out: Path = Path("restored")
    """Folder to write to: a file a seed, sheet.png with what was known and the samples, and restored.json."""
    overwrite: bool = False
    """Write into a folder that already holds files."""
    batch_size: int = 16
    """Samples in one call of the network."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""

    sampling: Annotated[SamplingChoices, tyro.conf.arg(name="")] = field(default_factory=SamplingChoices)


def run(arguments: Sequence[str]) -> int:
    """Draw the samples; see ``Options``."""
    options = parse(Options, arguments, prog="elucidiff restore")
    if (options.mask is None) == (options.upscale is None):
        raise ValueError("give either --mask or --upscale, to say what is known of the picture")
    seeds = parse_seeds(options.seeds)
    if seeds.first_repeated() is not None:
        raise ValueError(f"--seeds {options.seeds}: the same seed twice would write the same file twice")
    choice, guide = options.sampling.choice(options.model), options.sampling.guide
    if not options.overwrite:
        check_empty(options.out)
    denoiser = elucidiff.load(options.model, choose_device(options.device))
    denoiser.known_labels.refuse_field("restoring with a measurement")
    guided_by = None if guide is None else load_guide(guide, options.model, denoiser.device)
    if isinstance(scaling_of(denoiser), Latent):
        raise ValueError(
            f"{options.model} makes latents, of whose pictures --mask and --upscale know nothing: restore with a "
            "model of pictures, or make variations of one with `elucidiff sample --init`"
        )
    sampler = Sampler.chosen(choice, denoiser)
    measure, y, shown = _known(options, denoiser)
    found = restore(
        denoiser,
        measure,
        y,
        seeds,
        noise=options.noise,
        iterations=options.iterations,
        sampler=sampler,
        guide=guided_by,
        labels=options.labels,
        any_class=options.any_class,
        batch_size=options.batch_size,
    )

    scaling, backward = scaling_of(denoiser), found.products
    files = write_samples(options.out, [file_name(seed, "") for seed in seeds], scaling.to_data(found.x))
    nfe = torch.as_tensor(found.nfe).expand(len(seeds)).tolist()
    facts = {
        "elucidiff": elucidiff.__version__,
        "model": str(options.model),
        "checksum": checksum(options.model),
        "picture": str(options.picture),
        "known": f"mask {options.mask}" if options.mask else f"means over {options.upscale}",
        "noise": options.noise,
        "iterations": options.iterations,
        "sampler": sampler.to_plain(),
        **({} if guide is None else {"guide": checksum(guide)}),
        "backward_passes_an_evaluation": backward,
        "samples": [
            {"file": file, "seed": seed, "nfe": count, "misfit_rms": float(rms)}
            for file, seed, count, rms in zip(files, seeds, nfe, found.misfit, strict=True)
        ],
    }
    sheet = scaling.to_data(torch.cat([shown.to(found.x), found.x]))
    write_account(options.out, "restored.json", sheet, min(len(sheet), 9), facts)
    mean, misfit = sum(nfe) / len(nfe), float(found.misfit.mean())
    print(
        f"{len(files)} samples in {options.out} ({mean:g} evaluations with {backward} backward passes, each); they "
        f"meet what is known to {misfit:.2g} root mean square, where its noise is {options.noise:g}"
    )
    return 0


def _known(options: Options, denoiser: DenoiserModule) -> tuple[Mask | AveragePool, Tensor, Tensor]:
    """The measurement, what it gave (1, ...), and that as a sample that can be looked at (1, C, *spatial)."""
    shape = denoiser.sample_shape
    given = read_given(options.picture, denoiser)
    if options.mask is not None:
        if tuple(given.shape) != shape:
            raise ValueError(f"{options.picture} has shape {tuple(given.shape)}, but the model makes {shape}")
        mask = Mask(~read_mask(options.mask, shape[1:]))
        y = mask(given[None])
        return mask, y, y
    assert options.upscale is not None
    if not scaling_of(denoiser).linear:
        raise ValueError(
            "--upscale takes means of the values, and the model sees their logarithms: train it with --normalise "
            "standard to enlarge fields"
        )
    pool = AveragePool(options.upscale)
    small = tuple(pool(torch.zeros(1, *shape)).shape[1:])
    if tuple(given.shape) not in (shape, small):
        raise ValueError(
            f"{options.picture} has shape {tuple(given.shape)}: to be enlarged by {options.upscale} it must have "
            f"{small}, or {shape} to be averaged down first"
        )
    y = given[None] if tuple(given.shape) == small else pool(given[None])
    return pool, y, pool.enlarged(y)
