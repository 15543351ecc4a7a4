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
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from elucidiff import parts
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.files import sha256, write_whole
from elucidiff.networks import Blueprint, Network, blueprint_of
from elucidiff.untrusted import clipped, read_json

FORMAT = "elucidiff-model"
VERSION = 2

_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_OURS = ("format", "version", "network", "preconditioning", "weights_sha256")


def save(denoiser: Denoiser, path: str | os.PathLike[str], *, weights_only: bool = False) -> None:
    """Write the model folder ``path``, replacing the model there.

    Each of the two files appears whole or not at all, and both are written before either replaces an old one. If the
    program ends between the two replacements, the description does not match the weights, and :func:`load` says so.

    Args:
        denoiser: its network must have been built by a registered part (:class:`elucidiff.networks.NetworkPart`), and
            its preconditioning be one.
        path: the folder; made if missing.
        weights_only: write any other network, too: of that the folder holds the weights alone, so that
            :func:`load` has to be given the network.

    Raises:
        OSError: the folder cannot be written (disk full, no permission); a model that was there remains.
        ValueError: :func:`load` could not read what would be written, or ``denoiser.facts`` holds something that JSON
            does not know. Nothing is written.
    """
    folder = Path(path)
    network = denoiser.network
    blueprint = blueprint_of(network)
    if blueprint is None and not weights_only:
        raise ValueError(
            f"a network of type {type(network).__name__} cannot be written so that it is found again: build it by a "
            'part, a subclass of ed.networks.NetworkPart with @ed.part("network", NAME); or write the weights alone, '
            "save(path, weights_only=True), and give the network to ed.load(path, network=...)"
        )
    description = {
        "format": FORMAT,
        "version": VERSION,
        "network": None if blueprint is None else blueprint.to_plain(),
        "preconditioning": parts.to_plain(denoiser.preconditioning),
        "weights_sha256": "",
        **{name: value for name, value in denoiser.facts.items() if name not in _OURS},
    }
    try:
        text = json.dumps(description)
    except TypeError as error:
        raise ValueError(f"the model's facts cannot be written as JSON: {error}") from error
    weights = _on_their_own(network.state_dict())
    _refuse_unreadable(json.loads(text), network, weights)

    def write_both(file: Path) -> None:
        try:
            save_file(weights, file)
        except SafetensorError as error:  # not an OSError, even where the disk is full
            raise OSError(f"cannot write {folder / 'model.safetensors'}: {error}") from error
        # Within the writing of the weights: a description that cannot be written leaves the old weights, too.
        whole = {**description, "weights_sha256": sha256(file)}
        write_whole(folder / "model.json", json.dumps(whole, indent=2) + "\n")

    write_whole(folder / "model.safetensors", write_both)


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
        _check_weights(weights, denoiser.network)
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
    denoiser.facts.update({key: value for key, value in description.items() if key not in _OURS})
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
        raise ValueError(f"{file} is truncated or damaged: {_line(error)}") from error


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
        raise ValueError(f"{file} describes no model that can be built: {_line(error)}") from error


def _on_their_own(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights on the CPU, none sharing memory with another, as the file format wants them."""
    found: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, value in state.items():
        copied = value.detach().cpu().contiguous()
        place = copied.untyped_storage().data_ptr()
        found[name] = copied.clone() if place in places else copied
        places.add(place)
    return found


def _refuse_unreadable(description: Mapping[str, Any], network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError, before anything is written, if :func:`load` could not read it."""
    try:
        parts.from_plain("preconditioning", description["preconditioning"])
        wanted = network
        if description["network"] is not None:
            wanted = Blueprint.from_plain(description["network"]).outline(len(weights))
        _check_weights(weights, wanted)
    except ValueError as error:
        raise ValueError(f"this model could not be loaded again, so it is not written: {_line(error)}") from None


def _check_weights(weights: Mapping[str, Tensor], network: nn.Module) -> None:
    """Raise ValueError unless ``weights`` can be those of ``network``, in the type in which they are stored."""
    wanted = network.state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        if name not in weights:
            raise ValueError(f"it lacks the weight {name}")
        if name not in wanted:
            raise ValueError(f"it has the weight {name!r}, which the network does not")
        value = weights[name]
        if value.shape != wanted[name].shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)}, not {tuple(wanted[name].shape)}")
        counts = not wanted[name].is_floating_point() and value.dtype == wanted[name].dtype
        if value.dtype not in _WEIGHT_TYPES and not counts:
            raise ValueError(f"the weight {name} has type {value.dtype}, which is no type for weights")
        if not bool(torch.isfinite(value).all()):
            what = "NaN" if bool(torch.isnan(value).any()) else "an infinity"
            raise ValueError(f"the weight {name} holds {what}")
    # Frequencies and the like, which are not trained, keep their type when a network is cast.
    types = {weights[name].dtype for name, _ in network.named_parameters()}
    if len(types) > 1:
        raise ValueError(f"it mixes weights of the types {', '.join(sorted(map(str, types)))}: save them in one")


def _line(error: BaseException) -> str:
    """The first line of what an error says: those of PyTorch go on with where it arose."""
    return clipped((str(error) or type(error).__name__).splitlines()[0], 500)
