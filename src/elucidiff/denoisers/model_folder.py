"""A denoiser on disk: ``model.safetensors`` with the weights and ``model.json`` with what they mean.

Neither file can make the reader execute anything: weights are plain numbers, and the description is JSON that names
parts, networks and preconditionings, which are there or come from a module that the *user* names. The description
holds the SHA-256 of the weights, so that files of two different models are never taken for one.
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
from safetensors.torch import load_file
from torch import Tensor, nn

from elucidiff import parts
from elucidiff.autoencoders.kept import kept_by
from elucidiff.denoisers.model_files import FORMAT, OURS, VERSION, check_weights, first_line, save
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.files import sha256
from elucidiff.networks import Blueprint, Network
from elucidiff.untrusted import read_json

__all__ = ["checksum", "load", "save"]

# A lowest noise level this many times as large as the data leaves nothing of them: it is damage, or a wrong unit.
_ONLY_NOISE = 1e4


def load(path: str | os.PathLike[str], network: nn.Module | None = None) -> Denoiser:
    """Read a model folder into a denoiser on the CPU, in evaluation mode.

    Nothing is computed or allocated for one of our networks before its weights are found to fit the description.

    Args:
        path: a folder that :func:`save` wrote.
        network: the module into which the weights go, for a network that is no registered part. It is used itself.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is truncated, damaged, of another format or version, names a part that is not known, the
            weights do not fit the network or are not those that were saved with the description, or a weight is not
            finite. The message names the file.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no model folder {folder}")
    description = _read_description(folder / "model.json")
    file = folder / "model.safetensors"
    weights = _read_weights(file)
    denoiser = _build(description, len(weights), folder / "model.json", network)
    try:
        check_weights(weights, denoiser.network)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    saved = description.get("weights_sha256")
    if saved is not None and saved != sha256(file):
        raise ValueError(
            f"{file} is not what was saved with {folder / 'model.json'} (their SHA-256 differ): it is damaged, or "
            "saving was interrupted; save the model again"
        )
    if isinstance(denoiser.network, Network):
        denoiser.network.load_state_dict(weights, assign=True)
    else:  # what is tied stays tied
        stored = {name: weights[name].dtype for name, _ in denoiser.network.named_parameters()}
        denoiser.network.to(next(iter(stored.values()), torch.float32)).load_state_dict(weights)
    denoiser.facts.update({key: value for key, value in description.items() if key not in OURS})
    _find_autoencoder(folder, denoiser.facts.get("data"))
    try:
        denoiser.known_labels  # noqa: B018 (for what it refuses)
        std = denoiser.data_std or 1.0
        if denoiser.sigma_min > _ONLY_NOISE * std:
            raise ValueError(
                f"its lowest noise level, {denoiser.sigma_min:g}, is so far above the standard deviation of the "
                f"data, about {std:g}, that nothing is left of them"
            )
    except ValueError as error:
        raise ValueError(f"{folder / 'model.json'}: {error}") from None
    return denoiser.eval()


def _find_autoencoder(folder: Path, data: Any) -> None:
    """Put into the facts of a model of latents where its autoencoder is now."""
    scaling = data.get("scaling") if isinstance(data, dict) else None
    if isinstance(scaling, dict) and scaling.get("autoencoder") is not None:
        scaling["autoencoder"] = parts.to_plain(kept_by(folder, scaling["autoencoder"]))


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
    # 1 and 1.0 are the same value of a setting, and a file that is read and written again may hold the other.
    decisive = json.loads(json.dumps(decisive), parse_int=float)
    text = json.dumps(decisive, sort_keys=True) + sha256(folder / "model.safetensors")
    return hashlib.sha256(text.encode()).hexdigest()


def _read_description(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {file.parent} is not a model folder")
    description = read_json(file)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError(f"{file} is not the description of a model: it does not say format {FORMAT!r}")
    version = description.get("version")
    if version == 1:
        raise ValueError(
            f"{file} has version 1, in which networks were described otherwise: train the model again, or convert it "
            "again from where it came"
        )
    if version != VERSION:
        raise ValueError(f"{file} has version {version!r}, but this program reads {VERSION}")
    if not isinstance(description.get("network", 0), dict | None):
        raise ValueError(f"{file} does not describe the network")
    if not isinstance(description.get("preconditioning"), dict):
        raise ValueError(f"{file} does not describe the preconditioning")
    return description


def _read_weights(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {file.parent} is not a model folder")
    try:
        return load_file(file)
    except (SafetensorError, KeyError, AttributeError) as error:  # the last two: a type that PyTorch does not know
        raise ValueError(f"{file} is truncated or damaged: {first_line(error)}") from error


def _build(description: Mapping[str, Any], weights: int, file: Path, network: nn.Module | None) -> Denoiser:
    """The denoiser that ``description`` means; one of our networks has no values yet (device "meta")."""
    described = description["network"]
    if described is None and network is None:
        raise ValueError(
            f"{file} says nothing of how its network is built, which is no registered part: give the network, "
            "ed.load(path, network=...)"
        )
    try:
        if network is None:
            network = Blueprint.from_plain(described).outline(weights)
        return Denoiser(network, parts.from_plain("preconditioning", description["preconditioning"]))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise ValueError(f"{file} describes no model that can be built: {first_line(error)}") from error
