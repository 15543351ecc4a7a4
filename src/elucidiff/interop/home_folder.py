"""A model of another library as a folder that says what it is, so that it opens like any other.

Files of weights alone are read once, with the settings that their library needs. :func:`save` writes those beside the
weights: ``home.json`` with the reader's name and what it was told, ``weights.safetensors`` under the library's own
names. :func:`elucidiff.load` and the command line then take the folder as a model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from elucidiff.denoisers.adapters import AdaptedDenoiser, InUnits
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.opening import opens
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.interop import diffusers, k_diffusion, lucidrains, openai, own_code, score_sde, weights
from elucidiff.interop.home_sampling import ForeignModel
from elucidiff.interop.weights_folder import WEIGHTS, WeightsFolder, card_of
from elucidiff.networks import blueprint_of
from elucidiff.untrusted import clipped, printable, reading

_KIND = WeightsFolder("elucidiff-home", 1, "home.json")

_MOST = 1 << 20
_MOST_ENTRIES = 64
_LEVELS = ("channel_mult", "ch_mult", "dim_mults", "depths")
_READERS: dict[str, Callable[..., ForeignModel]] = {
    "openai": openai.load,
    "score_sde": score_sde.load,
    "lucidrains": lucidrains.load,
    "k_diffusion": k_diffusion.load,
}


def save(denoiser: DenoiserModule, path: str | os.PathLike[str]) -> None:
    """Write a model from elsewhere as a folder that :func:`elucidiff.load` reads.

    One whose network is ours becomes a model folder; one of diffusers a folder of diffusers; one that a library's
    reader read keeps its weights and settings under their names there; and one that a function of the user's own
    makes a folder that names the function, whose module must be named again (``--plugin``) to open it.

    Args:
        denoiser: what :func:`elucidiff.load`, or a reader of this package, returned.
        path: the folder; one that an earlier call wrote is replaced.

    Raises:
        OSError: the folder cannot be written, or is there and holds something else.
        ValueError: nothing is known by which it could be read again, as of a network of your own that no function
            made which can be named.

    >>> import elucidiff as ed
    >>> denoiser = ed.interop.flow_matching.adapt(lambda x, t: -x)
    >>> ed.interop.save(denoiser, "folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: nothing says how the network of AdaptedDenoiser is built: name the function that makes it, ...
    """
    home = denoiser.facts.get("home", {})
    if "arguments" in home:
        _refuse_other(path, is_home_folder)
        _write(denoiser, home["format"].split()[0], home["arguments"], path)
    elif isinstance(denoiser, Denoiser) and blueprint_of(denoiser.network) is not None:
        denoiser.save(path)
    elif home.get("format") == "diffusers":
        assert isinstance(denoiser, AdaptedDenoiser | Denoiser)
        diffusers.export(denoiser, path)
    elif "factory" in home:
        _refuse_other(path, own_code.is_own_code)
        own_code.save(denoiser, home["factory"], path)
    else:
        raise ValueError(
            f"nothing says how the network of {type(denoiser).__name__} is built: name the function that makes "
            "it, elucidiff convert package.module:function OUT"
        )


def _refuse_other(path: str | os.PathLike[str], ours: Callable[[Path], bool]) -> None:
    """Raise FileExistsError if there is something that is not to be replaced."""
    where = Path(path)
    if os.path.lexists(path) and not ours(where) and not (where.is_dir() and not any(where.iterdir())):
        raise FileExistsError(f"{printable(os.fspath(path))} is there, and is no model that this would replace")


def _write(denoiser: DenoiserModule, name: str, told: Any, path: str | os.PathLike[str]) -> None:
    """Weights and arguments of a library's reader."""
    inner = denoiser.denoiser if isinstance(denoiser, InUnits) else denoiser
    assert isinstance(inner, AdaptedDenoiser | Denoiser)  # its reader made it
    network = inner.network
    assert isinstance(network, nn.Module)
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    card = card_of(denoiser.facts, {"type": denoiser.facts["home"]["format"], **told}, network, denoiser.sample_shape)
    _KIND.write(path, state, {"library": name, "arguments": told}, card)


def is_home_folder(path: Path) -> bool:
    """True if :func:`save` wrote this folder."""
    return _KIND.is_one(path)


@opens(is_home_folder)
def load(path: str | os.PathLike[str]) -> ForeignModel:
    """Read a folder that :func:`save` wrote.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is damaged, of another version, or they do not belong together. The message names the file.
    """
    description, stored = _KIND.description(path), Path(path) / WEIGHTS
    with reading(Path(path) / _KIND.file):
        name, told = description.get("library"), description.get("arguments")
        if name not in _READERS or not isinstance(told, Mapping):
            raise ValueError(f"it names the library {clipped(repr(name))}, but known are {', '.join(_READERS)}")
        _check_size(told, len(weights.read(stored)))
        try:
            return _READERS[name](stored, **told)
        except TypeError as error:
            raise ValueError(f"its arguments are not those of {name}: {clipped(str(error))}") from None


def _check_size(told: Any, count: int) -> None:
    """Raise ValueError if settings ask for far more than ``count`` weights can be."""
    if isinstance(told, Mapping):
        found = next((told[name] for name in _LEVELS if name in told), ())
        levels = len(found.split(",")) if isinstance(found, str) else len(found) if isinstance(found, list) else 1
        blocks = told.get("num_res_blocks", 1)
        if isinstance(blocks, int) and max(levels, 1) * blocks > max(count, 1):
            raise ValueError(f"it asks for {levels} levels of {blocks} blocks, too many for {count} weights")
    if isinstance(told, list | Mapping):
        entries = list(told.values()) if isinstance(told, Mapping) else told
        if len(entries) > _MOST_ENTRIES:
            raise ValueError(f"a setting in it has {len(entries)} entries")
        for entry in entries:
            _check_size(entry, count)
    elif isinstance(told, int | float) and not abs(told) <= _MOST:
        raise ValueError("a number in it is out of range")
