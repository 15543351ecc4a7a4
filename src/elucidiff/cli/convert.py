"""``elucidiff convert SRC OUT``: a model as a model folder, or as a file for other programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

import elucidiff
from elucidiff import data as data_sets
from elucidiff import interop
from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.cli.doctor import check_on
from elucidiff.denoisers.adapters import AdaptedDenoiser, InUnits
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.opening import load_guide
from elucidiff.interop.diffusers import load_autoencoder
from elucidiff.interop.exporting import SUFFIXES
from elucidiff.launch.output_folder import check_empty
from elucidiff.untrusted import printable


@dataclass(frozen=True)
class Options:
    """Write a model of another library, recognised by its content, or one that your own code makes, as a folder that
    all verbs take. `elucidiff parts format` lists what can be read. Nothing that is in the files is run. Of a network
    that only your code can build, the folder holds the weights, and names the function; --plugin names its module.

    Or, where OUT ends in .onnx or .pt2, write it as a file that runs without elucidiff: the denoiser D(x; sigma), or
    with any choice of how to sample, a whole sampler, from latents (and labels) to samples.

    Examples::

        elucidiff convert edm-cifar10-32x32-cond-vp.pkl mine
        elucidiff convert mypackage.mymodule:factory mine --plugin mypackage.mymodule
        elucidiff convert mine sampler.onnx --n 10 --solver ipndm
    """

    source: tyro.conf.Positional[Path]
    """The file or folder of the model, or package.module:function."""
    out: tyro.conf.Positional[Path]
    """Model folder to write; or a file, .onnx for ONNX Runtime, .pt2 for torch.export.load."""
    data: str | None = None
    """A data set like the one that it was trained on, to check that it denoises (its own samples). See `doctor`."""
    check: bool = True
    """Look whether it denoises, if its network can be read in several ways."""
    overwrite: bool = False
    """Replace the model that is there."""

    decode: bool = True
    """Of a pipeline of diffusers with an autoencoder, have the file of a sampler return images, not latents."""

    sampling: Annotated[SamplingChoices, tyro.conf.arg(name="")] = field(default_factory=SamplingChoices)


def run(arguments: Sequence[str]) -> int:
    """Write the model folder, or the file; see ``Options``."""
    options = parse(Options, arguments, prog="elucidiff convert")
    if options.out.suffix in SUFFIXES:
        return _export(options)
    if given := options.sampling.given:
        raise ValueError(
            f"--{given[0].replace('_', '-')} would have no effect on a model folder: leave it out, or name a "
            f"file that ends in {' or '.join(SUFFIXES)}"
        )
    if not options.overwrite:
        check_empty(options.out)
    model = elucidiff.load(options.source)
    interop.save(model, options.out)
    print(options.out)
    if options.check and (options.data is not None or isinstance(model, AdaptedDenoiser | InUnits)):
        print(f"{options.source}: {_checked(model, options.data)}", file=sys.stderr)
    return 0


def _export(options: Options) -> int:
    if options.out.exists() and not options.overwrite:
        raise FileExistsError(
            f"{printable(str(options.out))} is there already: add --overwrite, or name another file"
        )
    choices = options.sampling
    sampler = choices.choice(options.source) if choices.given else None
    guide = None if choices.guide is None else load_guide(choices.guide, options.source)
    decoder = options.source / "vae" if options.decode and sampler is not None else None
    autoencoder = load_autoencoder(decoder) if decoder is not None and decoder.is_dir() else None
    made = interop.export(elucidiff.load(options.source), options.out, sampler, guide=guide, autoencoder=autoencoder)
    what = "the denoiser" if sampler is None else f"a sampler of {made.about['evaluations']} evaluations"
    inputs = ", ".join(made.about["inputs"])
    print(
        f"{options.out}: {what}, from {inputs} to {made.about['output']}, within {made.difference:.0e} of the largest"
    )
    return 0


def _checked(model: DenoiserModule, data: str | None) -> str:
    """Result of the check in words, or why there was none."""
    try:
        if data is None:
            return str(interop.check(model, count=_DRAWN, enough=_SURE))
        return str(check_on(model, data_sets.open(data), _IMAGES))
    except ValueError as error:
        return f"whether it denoises was not checked: {error}"


_DRAWN, _IMAGES, _SURE = 4, 16, 0.7
"""Samples that are drawn for a check, or images that are looked at; a score that needs no comparison."""
