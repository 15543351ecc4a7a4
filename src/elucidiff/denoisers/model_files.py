"""Writing a model folder, with the card that tells people of it, and publishing it on the Hugging Face Hub.

``model.safetensors`` and ``model.json`` go there as they are; ``huggingface_hub`` moves them. Its own mixin is no
base class here, since it takes a second to import and writes a ``config.json`` beside ``model.json``.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from elucidiff import parts
from elucidiff.autoencoders import KeptAutoencoder
from elucidiff.autoencoders.kept import FOLDER
from elucidiff.denoisers import model_card, model_files
from elucidiff.denoisers.model_card import write_card
from elucidiff.design.preconditioning import Preconditioning
from elucidiff.files import sha256, write_whole
from elucidiff.networks import Blueprint, blueprint_of
from elucidiff.untrusted import clipped

FORMAT = "elucidiff-model"
VERSION = 2

FILES = ("model.safetensors", "model.json")
"""Of a model folder, beside its card."""

OURS = ("format", "version", "network", "preconditioning", "weights_sha256")
"""The entries of ``model.json`` beside the model's facts."""

_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Model(Protocol):
    """The parts of a :class:`.Denoiser` that are written."""

    network: nn.Module
    preconditioning: Preconditioning
    facts: dict[str, Any]


def save(denoiser: Model, path: str | os.PathLike[str], *, weights_only: bool = False) -> None:
    """Write the model folder ``path``, replacing the model there.

    Each of the files appears whole or not at all, and the weights and their description are both written before
    either replaces an old one. A card (``README.md``) that somebody has edited stays. If the program ends between the
    two replacements, the description does not match the weights, and
    :func:`elucidiff.load` says so.

    Args:
        denoiser: its network must have been built by a registered part (:class:`elucidiff.networks.NetworkPart`), and
            its preconditioning be one.
        path: the folder; made if missing.
        weights_only: write any other network, too: of that the folder holds the weights alone, so that
            :func:`elucidiff.load` has to be given the network.

    Raises:
        OSError: the folder cannot be written (disk full, no permission); a model that was there remains.
        ValueError: :func:`elucidiff.load` could not read what would be written, or ``denoiser.facts`` holds something
            that JSON does not know. Nothing is written.
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
        **{name: value for name, value in denoiser.facts.items() if name not in OURS},
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
        write_card(folder, {**whole, "parameters": sum(each.numel() for each in network.parameters())})
        write_whole(folder / "model.json", json.dumps(whole, indent=2) + "\n")

    _copy_autoencoder(folder, denoiser.facts.get("data"))
    write_whole(folder / "model.safetensors", write_both)


def _copy_autoencoder(folder: Path, data: Any) -> None:
    """Put the autoencoder of a model of latents beside the model, if it is small."""
    scaling = data.get("scaling") if isinstance(data, dict) else None
    if isinstance(scaling, dict) and scaling.get("autoencoder") is not None:
        kept = parts.from_plain("autoencoder", scaling["autoencoder"])
        if isinstance(kept, KeptAutoencoder):
            kept.keep(folder)


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
    """Raise ValueError, before anything is written, if :func:`elucidiff.load` could not read it."""
    try:
        parts.from_plain("preconditioning", description["preconditioning"])
        wanted = network
        if description["network"] is not None:
            wanted = Blueprint.from_plain(description["network"]).outline(len(weights))
        check_weights(weights, wanted)
    except ValueError as error:
        raise ValueError(f"this model could not be loaded again, so it is not written: {first_line(error)}") from None


def check_weights(weights: Mapping[str, Tensor], network: nn.Module) -> None:
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


def first_line(error: BaseException) -> str:
    """The first line of what an error says: those of PyTorch go on with where it arose."""
    return clipped((str(error) or type(error).__name__).splitlines()[0], 500)


class HubModel:
    """``save_pretrained``, ``from_pretrained`` and ``push_to_hub`` of a model that is written as a folder."""

    def save(self, path: str | os.PathLike[str], *, weights_only: bool = False) -> None:
        """Write the model folder."""
        raise NotImplementedError

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **options: Any,
    ) -> str | None:
        """Write the model folder, as ``save`` does, and publish it where ``push_to_hub`` is true.

        Args:
            save_directory: the folder.
            push_to_hub: whether to upload it.
            repo_id: where to, such as "name/model"; by default the folder's name.
            options: of :meth:`push_to_hub`.

        Returns:
            The address of the commit, or None if nothing was published.
        """
        self.save(save_directory)
        if not push_to_hub:
            return None
        return self._upload(Path(save_directory), repo_id or Path(save_directory).resolve().name, **options)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        force_download: bool = False,
    ) -> Self:
        """Read a model folder, or one of the Hub. Nothing in it is run or unpickled.

        Args:
            pretrained_model_name_or_path: a folder on this machine, which wins; or "name/model" on the Hub.
            revision: branch, tag or commit on the Hub.
            cache_dir: where downloads are kept; by default where ``huggingface_hub`` keeps them.
            local_files_only: take what was downloaded before, and connect to nothing.
            token: of an account that may read it.
            force_download: download again what is there.

        Raises:
            FileNotFoundError: there is no such folder, nor such a model on the Hub, or it cannot be reached.
            ValueError: the model is damaged, or ``huggingface_hub`` is not installed.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            name = os.fspath(pretrained_model_name_or_path)
            hub = _hub(f"{name!r} is no folder, and models of the Hub")
            try:
                found = hub.snapshot_download(
                    name,
                    revision=revision,
                    cache_dir=cache_dir,
                    local_files_only=local_files_only,
                    token=token,
                    force_download=force_download,
                    allow_patterns=[*model_files.FILES, model_card.FILE, f"{FOLDER}/*"],
                )
            except (OSError, ValueError) as error:  # of the connection, of the answer, of the name
                words = " ".join(str(error).split())[:300]
                raise FileNotFoundError(f"{name!r} is no folder, and not found on the Hub ({words})") from error
            folder = Path(found)
        # It builds denoisers, whose base this is, so it cannot be imported above.
        model = importlib.import_module("elucidiff.denoisers.model_folder").load(folder)
        if not isinstance(model, cls):
            raise ValueError(f"{folder} holds a {type(model).__name__}, not a {cls.__name__}")
        return model

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish the model on the Hub, with its card: a commit with all files of the folder.

        Args:
            repo_id: "name/model"; made if missing.
            options: ``private`` (False), ``token``, ``revision`` (a branch), ``commit_message``.

        Returns:
            The address of the commit.

        Raises:
            ValueError: the model cannot be written, or ``huggingface_hub`` is not installed.
            OSError: the Hub cannot be reached, or refuses.
        """
        _hub("publishing")
        with tempfile.TemporaryDirectory(prefix="elucidiff-") as folder:
            self.save(Path(folder) / "model")
            return self._upload(Path(folder) / "model", repo_id, **options)

    @staticmethod
    def _upload(
        folder: Path,
        repo_id: str,
        *,
        private: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str = "A model of elucidiff",
    ) -> str:
        api = _hub("publishing").HfApi(token=token)
        made = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(made, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=made,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message,
            allow_patterns=[*model_files.FILES, model_card.FILE, f"{FOLDER}/*"],
        )
        return str(commit)


def _hub(what: str) -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise ValueError(f"{what} need huggingface_hub: pip install 'elucidiff[hub]'") from None
