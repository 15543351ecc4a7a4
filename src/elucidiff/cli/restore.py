"""``elucidiff restore MODEL PICTURE``: samples that agree with what is known of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from torch import Tensor

import elucidiff
from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.samples import write_account, write_samples
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.data.decoding import decode
from elucidiff.data.npy import read_npy
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.opening import checksum, load_guide
from elucidiff.devices import choose_device, widest_type
from elucidiff.launch.output_folder import check_empty
from elucidiff.sampling.given import read_given
from elucidiff.sampling.grid import makes_pictures
from elucidiff.sampling.inverse import AveragePool, Mask, Posterior
from elucidiff.sampling.jobs.outputs import file_name
from elucidiff.sampling.label_choice import labels_or_uniform
from elucidiff.sampling.seeds import parse_seeds


@dataclass(frozen=True)
class Options:
    """Complete a picture where a mask is white, or enlarge a small one: samples of what it may have been.

    The method is Moment-Matching Posterior Sampling (Rozet et al. 2024, arXiv 2405.13712).
    """

    model: tyro.conf.Positional[Path]
    """A model folder, a model of another library, or your own code that makes one, package.module:function."""
    picture: tyro.conf.Positional[Path]
    """A picture, or an .npy array in the units of the model."""
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
    """Standard deviation of the noise of what is known, in units of the data; a grey level of 8 bits is 0.008."""
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
    sampler = options.sampling.chosen(options.model)
    device = choose_device(options.device)
    denoiser = elucidiff.load(options.model, device)
    guide = None if options.sampling.guide is None else load_guide(options.sampling.guide, options.model, device)
    guided = sampler.guided(denoiser, guide)
    sampler.sigmas(guided)  # refuses noise levels that the model does not know
    labels = _labels(options, denoiser, len(seeds))
    measure, y, shown = _known(options, denoiser)
    posterior = Posterior(
        guided, measure, y.to(device, widest_type(device)), options.noise, iterations=options.iterations
    )
    if not options.overwrite:
        check_empty(options.out)

    # What is known of the picture is added to the denoiser under guidance and clipped, and is neither itself.
    unguided = replace(sampler, guidance=None, clip=None)
    result = unguided.run(posterior, seeds, labels, any_class=True, batch_size=options.batch_size, device=device)
    x = result.x.cpu()
    # Where nothing is known, both sides of the difference are 0.
    share = 1.0 if isinstance(measure, AveragePool) else float(measure(torch.ones_like(x[:1])).mean())
    misfit = ((measure(x) - y).square().flatten(1).mean(1) / share).sqrt()

    pictures = makes_pictures(denoiser)
    files = write_samples(options.out, [file_name(seed, "") for seed in seeds], x, pictures=pictures)
    nfe = torch.as_tensor(result.nfe).expand(len(seeds)).tolist()
    backward = posterior.products
    facts = {
        "elucidiff": elucidiff.__version__,
        "model": str(options.model),
        "checksum": checksum(options.model),
        "picture": str(options.picture),
        "known": f"mask {options.mask}" if options.mask else f"means over {options.upscale}",
        "noise": options.noise,
        "iterations": options.iterations,
        "sampler": sampler.to_plain(),
        **({} if options.sampling.guide is None else {"guide": checksum(options.sampling.guide)}),
        "backward_passes_an_evaluation": backward,
        "samples": [
            {"file": file, "seed": seed, "nfe": count, "misfit_rms": float(rms)}
            for file, seed, count, rms in zip(files, seeds, nfe, misfit, strict=True)
        ],
    }
    sheet = torch.cat([shown.to(x), x])
    write_account(options.out, "restored.json", sheet, min(len(sheet), 9), facts, pictures=pictures)
    mean = sum(nfe) / len(nfe)
    print(
        f"{len(files)} samples in {options.out} ({mean:g} evaluations with {backward} backward passes, each); they "
        f"meet what is known to {float(misfit.mean()):.2g} root mean square, where its noise is {options.noise:g}"
    )
    return 0


def _known(options: Options, denoiser: DenoiserModule) -> tuple[Mask | AveragePool, Tensor, Tensor]:
    """The measurement, what it gave (1, ...), and that as a sample that can be looked at (1, C, *spatial)."""
    shape = denoiser.sample_shape
    given = read_given(options.picture, denoiser)
    if options.mask is not None:
        if tuple(given.shape) != shape:
            raise ValueError(f"{options.picture} has shape {tuple(given.shape)}, but the model makes {shape}")
        mask = Mask(~_to_paint(options.mask, shape[1:]))
        y = mask(given[None])
        return mask, y, y
    assert options.upscale is not None
    pool = AveragePool(options.upscale)
    small = tuple(pool(torch.zeros(1, *shape)).shape[1:])
    if tuple(given.shape) not in (shape, small):
        raise ValueError(
            f"{options.picture} has shape {tuple(given.shape)}: to be enlarged by {options.upscale} it must have "
            f"{small}, or {shape} to be averaged down first"
        )
    y = given[None] if tuple(given.shape) == small else pool(given[None])
    shown = y
    for dimension in range(2, y.ndim):
        shown = shown.repeat_interleave(options.upscale, dimension)
    return pool, y, shown


def _to_paint(file: Path, sides: tuple[int, ...]) -> Tensor:
    """Where the mask is white, or true."""
    if file.suffix.lower() == ".npy":
        array = read_npy(file, str(file))
        if not isinstance(array, np.ndarray) or array.dtype != np.bool_:
            raise ValueError(f"{file} must hold booleans, true where something is to be painted")
    else:
        with file.open("rb") as opened:
            pixels = decode(opened, str(file))
        colours = pixels[: 1 if len(pixels) < 3 else 3]  # without alpha
        array = colours.mean(0) >= 128
    if array.shape != sides:
        raise ValueError(f"the mask {file} has sides {array.shape}, but the picture has {sides}")
    return torch.from_numpy(np.ascontiguousarray(array))


def _labels(options: Options, denoiser: DenoiserModule, seeds: int) -> Tensor | Literal["uniform"] | None:
    if options.labels is None:
        if denoiser.label_dim:
            raise ValueError(
                "the model takes labels, and nobody knows that of the picture: give it with --labels, or try "
                "several, which are taken in turn"
            )
        return None
    asked = labels_or_uniform(options.labels, denoiser, any_class=options.any_class)
    return asked if not isinstance(asked, Tensor) else asked[torch.arange(seeds) % len(asked)]
