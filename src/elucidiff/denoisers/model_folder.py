"""A denoiser on disk: ``model.safetensors`` with the weights and ``model.json`` with what they mean.

Neither file can make the reader execute anything: weights are plain numbers, and the description is JSON that names
one of our own network and preconditioning types.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from elucidiff import networks
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning
from elucidiff.files import write_whole

FORMAT = "elucidiff-model"
VERSION = 1


def save(denoiser: Denoiser, path: str | os.PathLike[str]) -> None:
    """Write the model folder ``path``, replacing the model there.

    Each of the two files appears whole or not at all, weights first: whatever stops the writing, the folder holds
    weights that are complete, and :func:`load` refuses them if they do not fit the description.

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
        "preconditioning": denoiser.preconditioning.to_config(),
        **denoiser.facts,
    }
    try:
        text = json.dumps(description, indent=2) + "\n"
    except TypeError as error:
        raise ValueError(f"the model's facts cannot be written as JSON: {error}") from error
    weights = {name: value.detach().cpu().contiguous() for name, value in denoiser.network.state_dict().items()}

    def write_weights(file: Path) -> None:
        try:
            save_file(weights, file)
        except SafetensorError as error:  # not an OSError, even where the disk is full
            raise OSError(f"cannot write {folder / 'model.safetensors'}: {error}") from error

    write_whole(folder / "model.safetensors", write_weights)
    write_whole(folder / "model.json", text)


def load(path: str | os.PathLike[str]) -> Denoiser:
    """Read a model folder into a denoiser on the CPU, in evaluation mode.

    Args:
        path: a folder that :func:`save` wrote.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is truncated, damaged, of another format or a later version, the weights do not fit the
            network, or a weight is not finite. The message names the file.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no model folder {folder}")
    description = _read_description(folder / "model.json")
    try:
        network = networks.build(description["network"])
        design = preconditioning.from_config(description["preconditioning"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder / 'model.json'} describes no model that can be built: {error}") from error
    _fill(network, folder / "model.safetensors")
    denoiser = Denoiser(network, design)
    ours = {"format", "version", "network", "preconditioning"}
    denoiser.facts.update({key: value for key, value in description.items() if key not in ours})
    return denoiser.eval()


def _read_description(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {file.parent} is not a model folder")
    try:
        description = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError(f"{file} is not the description of a model: it does not say format {FORMAT!r}")
    if description.get("version") != VERSION:
        raise ValueError(f"{file} has version {description.get('version')!r}, but this program reads {VERSION}")
    missing = [key for key in ("network", "preconditioning") if not isinstance(description.get(key), dict)]
    if missing:
        raise ValueError(f"{file} does not describe the {missing[0]}")
    return description


def _fill(network: nn.Module, file: Path) -> None:
    """Put the weights of ``file`` into ``network``, in the type in which they are stored."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {file.parent} is not a model folder")
    try:
        weights = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is truncated or damaged: {error}") from error
    wanted = network.state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        if name not in weights:
            raise ValueError(f"{file} lacks the weight {name}")
        if name not in wanted:
            raise ValueError(f"{file} has the weight {name}, which the network does not")
        if weights[name].shape != wanted[name].shape:
            raise ValueError(
                f"{file}: {name} has shape {tuple(weights[name].shape)}, not {tuple(wanted[name].shape)}"
            )
        _check_finite(name, weights[name], file)
    network.load_state_dict(weights, assign=True)


def _check_finite(name: str, value: Tensor, file: Path) -> None:
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        what = "NaN" if bool(torch.isnan(value).any()) else "an infinity"
        raise ValueError(f"{file}: the weight {name} holds {what}")
