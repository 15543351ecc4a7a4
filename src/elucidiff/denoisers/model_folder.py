"""A denoiser on disk: ``model.safetensors`` with the weights and ``model.json`` with what they mean.

Neither file can make the reader execute anything: weights are plain numbers, and the description is JSON that names
one of our own network and preconditioning types. The description holds the SHA-256 of the weights, so that files of
two different models are never taken for one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from elucidiff import networks, parts
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.files import sha256, write_whole
from elucidiff.untrusted import clipped, read_json

FORMAT = "elucidiff-model"
VERSION = 1

_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def save(denoiser: Denoiser, path: str | os.PathLike[str]) -> None:
    """Write the model folder ``path``, replacing the model there.

    Each of the two files appears whole or not at all, and both are written before either replaces an old one. If the
    program ends between the two replacements, the description does not match the weights, and :func:`load` says so.

    Args:
        denoiser: its network must have the attribute ``config`` that :func:`elucidiff.networks.build` takes.
        path: the folder; made if missing.

    Raises:
        OSError: the folder cannot be written (disk full, no permission); a model that was there remains.
        ValueError: the network cannot be described, or ``denoiser.facts`` holds something that JSON does not know.
    """
    folder = Path(path)
    config = getattr(denoiser.network, "config", None)
    if config is None:
        raise ValueError(f"a network of type {type(denoiser.network).__name__} has no config, so it cannot be saved")
    description = {
        "format": FORMAT,
        "version": VERSION,
        "network": config,
        "preconditioning": parts.to_plain(denoiser.preconditioning),
        "weights_sha256": "",
        **denoiser.facts,
    }
    try:
        json.dumps(description)
    except TypeError as error:
        raise ValueError(f"the model's facts cannot be written as JSON: {error}") from error
    weights = {name: value.detach().cpu().contiguous() for name, value in denoiser.network.state_dict().items()}

    def write_both(file: Path) -> None:
        try:
            save_file(weights, file)
        except SafetensorError as error:  # not an OSError, even where the disk is full
            raise OSError(f"cannot write {folder / 'model.safetensors'}: {error}") from error
        # Within the writing of the weights: a description that cannot be written leaves the old weights, too.
        whole = {**description, "weights_sha256": sha256(file)}
        write_whole(folder / "model.json", json.dumps(whole, indent=2) + "\n")

    write_whole(folder / "model.safetensors", write_both)


def load(path: str | os.PathLike[str]) -> Denoiser:
    """Read a model folder into a denoiser on the CPU, in evaluation mode.

    Nothing is computed or allocated for the network before its weights are found to fit the description.

    Args:
        path: a folder that :func:`save` wrote.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is truncated, damaged, of another format or a later version, the weights do not fit the
            network or are not those that were saved with the description, or a weight is not finite. The message
            names the file.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no model folder {folder}")
    description = _read_description(folder / "model.json")
    file = folder / "model.safetensors"
    weights = _read_weights(file)
    denoiser = _build(description, len(weights), folder / "model.json")
    _check_weights(weights, denoiser.network.state_dict(), file)
    saved = description.get("weights_sha256")
    if saved is not None and saved != sha256(file):
        raise ValueError(
            f"{file} is not what was saved with {folder / 'model.json'} (their SHA-256 differ): it is damaged, or "
            "saving was interrupted; save the model again"
        )
    denoiser.network.load_state_dict(weights, assign=True)
    ours = {"format", "version", "network", "preconditioning", "weights_sha256"}
    denoiser.facts.update({key: value for key, value in description.items() if key not in ours})
    try:
        denoiser.known_labels  # noqa: B018 (for what it refuses)
    except ValueError as error:
        raise ValueError(f"{folder / 'model.json'}: {error}") from None
    return denoiser.eval()


def checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of all that decides what the denoiser of a model folder returns: its weights, and how they are used.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: the description is damaged.
    """
    folder = Path(path)
    description = _read_description(folder / "model.json")
    # Not how it came to be, nor what else is kept beside it.
    decisive = {key: description.get(key) for key in ("network", "preconditioning", "data")}
    text = json.dumps(decisive, sort_keys=True) + sha256(folder / "model.safetensors")
    return hashlib.sha256(text.encode()).hexdigest()


def _read_description(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {file.parent} is not a model folder")
    description = read_json(file)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError(f"{file} is not the description of a model: it does not say format {FORMAT!r}")
    if description.get("version") != VERSION:
        raise ValueError(f"{file} has version {description.get('version')!r}, but this program reads {VERSION}")
    missing = [key for key in ("network", "preconditioning") if not isinstance(description.get(key), dict)]
    if missing:
        raise ValueError(f"{file} does not describe the {missing[0]}")
    return description


def _read_weights(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {file.parent} is not a model folder")
    try:
        return load_file(file)
    except (SafetensorError, KeyError, AttributeError) as error:  # the last two: a type that PyTorch does not know
        raise ValueError(f"{file} is truncated or damaged: {_line(error)}") from error


def _build(description: Mapping[str, Any], weights: int, file: Path) -> Denoiser:
    """The denoiser that ``description`` means, its ``weights`` many weights left out (on the device "meta")."""
    config = description["network"]
    try:
        network = networks.outline(config, weights)
        return Denoiser(network, parts.from_plain("preconditioning", description["preconditioning"]))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise ValueError(f"{file} describes no model that can be built: {_line(error)}") from error


def _check_weights(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path) -> None:
    """Raise ValueError unless ``weights`` can take the place of ``wanted``, in the type in which they are stored."""
    types = {value.dtype for value in weights.values()}
    for name in sorted(wanted.keys() | weights.keys()):
        if name not in weights:
            raise ValueError(f"{file} lacks the weight {name}")
        if name not in wanted:
            raise ValueError(f"{file} has the weight {name!r}, which the network does not")
        value = weights[name]
        if value.shape != wanted[name].shape:
            raise ValueError(f"{file}: {name} has shape {tuple(value.shape)}, not {tuple(wanted[name].shape)}")
        if value.dtype not in _WEIGHT_TYPES:
            raise ValueError(f"{file}: the weight {name} has type {value.dtype}, which is no type for weights")
        if not bool(torch.isfinite(value).all()):
            what = "NaN" if bool(torch.isnan(value).any()) else "an infinity"
            raise ValueError(f"{file}: the weight {name} holds {what}")
    if len(types) > 1:
        raise ValueError(f"{file} mixes weights of the types {', '.join(sorted(map(str, types)))}: save them in one")


def _line(error: BaseException) -> str:
    """The first line of what an error says: those of PyTorch go on with where it arose."""
    return clipped((str(error) or type(error).__name__).splitlines()[0], 500)
