"""A model of another library as a folder that says what it is, so that it opens like any other.

Files of weights alone are read once, with the settings that their library needs. :func:`save` writes those beside the
weights: ``home.json`` with the reader's name and what it was told, ``weights.safetensors`` under the library's own
names. :func:`elucidiff.load` and the command line then take the folder as a model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from elucidiff.denoisers.adapters import InUnits
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.files import sha256, write_folder_whole
from elucidiff.interop import k_diffusion, lucidrains, openai, score_sde, weights
from elucidiff.interop.home_sampling import ForeignModel
from elucidiff.interop.opening import opens
from elucidiff.untrusted import clipped, printable, read_json, reading

FORMAT = "elucidiff-home"
VERSION = 1

_MOST = 1 << 20
_MOST_ENTRIES = 64
_LEVELS = ("channel_mult", "ch_mult", "dim_mults", "depths")
_READERS: dict[str, Callable[..., ForeignModel]] = {
    "openai": openai.load,
    "score_sde": score_sde.load,
    "lucidrains": lucidrains.load,
    "k_diffusion": k_diffusion.load,
}


def save(denoiser: ForeignModel, path: str | os.PathLike[str]) -> None:
    """Write a model of another library as a folder; one whose network is ours is written as a model folder.

    Args:
        denoiser: what a reader of this package returned.
        path: the folder; one that an earlier call wrote is replaced.

    Raises:
        OSError: the folder cannot be written, or is there and holds something else.
        ValueError: the model has no settings with which it could be read again, as with a network of your own.

    >>> import elucidiff as ed
    >>> denoiser = ed.interop.flow_matching.adapt(lambda x, t: -x)
    >>> ed.interop.save(denoiser, "folder")
    Traceback (most recent call last):
        ...
    ValueError: AdaptedDenoiser around a network of your own has no settings to write
    """
    told = denoiser.facts.get("home", {}).get("arguments")
    if told is None:
        if not isinstance(denoiser, Denoiser):
            raise ValueError(f"{type(denoiser).__name__} around a network of your own has no settings to write")
        denoiser.save(path)
        return
    where = Path(path)
    if os.path.lexists(path) and not is_home_folder(where) and not (where.is_dir() and not any(where.iterdir())):
        raise FileExistsError(f"{printable(os.fspath(path))} is there, and is no model that this would replace")
    name = denoiser.facts["home"]["format"].split()[0]
    network = (denoiser.denoiser if isinstance(denoiser, InUnits) else denoiser).network
    assert isinstance(network, nn.Module)  # its reader built it
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}

    def fill(folder: Path) -> None:
        file = folder / "weights.safetensors"
        save_file(state, file)
        description = {"format": FORMAT, "version": VERSION, "library": name, "arguments": told}
        text = json.dumps(description | {"weights_sha256": sha256(file)}, indent=2)
        (folder / "home.json").write_text(text + "\n", encoding="utf-8")

    write_folder_whole(path, fill)


def is_home_folder(path: Path) -> bool:
    """Whether :func:`save` wrote this folder."""
    return (path / "home.json").is_file() and (path / "weights.safetensors").is_file()


@opens(is_home_folder)
def load(path: str | os.PathLike[str]) -> ForeignModel:
    """Read a folder that :func:`save` wrote.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is damaged, of another version, or they do not belong together. The message names the file.
    """
    file, stored = Path(path) / "home.json", Path(path) / "weights.safetensors"
    description = read_json(file)
    with reading(file):
        if not isinstance(description, Mapping) or description.get("format") != FORMAT:
            raise ValueError(f"it does not say format {FORMAT!r}")
        if description.get("version") != VERSION:
            raise ValueError(f"it has version {clipped(repr(description.get('version')))}, but this reads {VERSION}")
        name, told = description.get("library"), description.get("arguments")
        if name not in _READERS or not isinstance(told, Mapping):
            raise ValueError(f"it names the library {clipped(repr(name))}, but known are {', '.join(_READERS)}")
        if description.get("weights_sha256") != sha256(stored):
            raise ValueError(f"it is not what was saved with {printable(str(stored))}, whose SHA-256 differs")
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
