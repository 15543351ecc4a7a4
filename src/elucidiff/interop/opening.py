"""Formats that models come in, each a part that recognises its own by content: :func:`load` opens any of them.

Formats whose files hold weights alone (``interop.openai``, say) are read by their own ``load``, and told the rest.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from elucidiff import parts
from elucidiff.denoisers import model_folder
from elucidiff.devices import choose_device
from elucidiff.files import sha256
from elucidiff.untrusted import printable

_Reader = TypeVar("_Reader", bound=Callable[..., Any])


@dataclass(frozen=True)
class Format(ABC):
    """A format of other people's models; a new one is :meth:`recognises` and :meth:`load`."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Whether the file or folder is of this format, by what is in it; quick, and without running anything of it.

        Called with whatever somebody names: False, not an error, for what is something else.
        """

    @abstractmethod
    def load(self, path: Path) -> Any:
        """The model as a denoiser on the CPU, in evaluation mode.

        Raises:
            ValueError: it is damaged; the message names the file.
            OSError: it cannot be read.
        """


def opens(recognises: Callable[[Path], bool]) -> Callable[[_Reader], _Reader]:
    """Register a reader of paths, of which ``recognises`` is true, as the format that its room here is named after::

    @opens(lambda path: (path / "model_index.json").is_file())
    def load(path): ...
    """

    def register(reader: _Reader) -> _Reader:
        methods = {
            "recognises": lambda self, path: recognises(path),
            "load": lambda self, path: reader(path),
            "__doc__": (reader.__doc__ or "").strip().split("\n\n")[0],
            "__module__": reader.__module__,
        }
        name = reader.__module__.removeprefix("elucidiff.interop.").partition(".")[0]
        parts.part("format", name)(dataclass(frozen=True)(type("Reader", (Format,), methods)))
        return reader

    return register


def recognised(path: str | os.PathLike[str]) -> Format | None:
    """The format of a file or folder, plugins' included; None for our own model folders and what nobody knows."""
    where = Path(path)
    if not where.exists() or (where / "model.json").exists():
        return None
    made = (cls() for cls in parts.parts_of("format").values())
    return next((each for each in made if each.recognises(where)), None)


def load(
    path: str | os.PathLike[str], device: str | torch.device | None = None, network: nn.Module | None = None
) -> Any:
    """Read a model: a model folder, or what another library saved with its description.

    Args:
        path: a folder that :meth:`.Denoiser.save` wrote; a network snapshot of NVlabs/edm or edm2; a file or folder
            of another library that holds its own settings: ``elucidiff parts format`` lists them.
        device: where its weights are to be, such as ``"cuda"`` or ``"auto"``; the CPU by default.
        network: for a model folder: the module into which the weights go, where no registered part builds it. The
            denoiser holds the module itself.

    Returns:
        The denoiser, in evaluation mode.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: it is damaged, of a format that is not known, or names a part that is not known. The message
            names the file.

    >>> import elucidiff as ed
    >>> ed.load("nowhere")
    Traceback (most recent call last):
        ...
    FileNotFoundError: there is no model folder nowhere
    """
    denoiser = _read(Path(path), network)
    return denoiser if device is None else denoiser.to(choose_device(str(device)))


def _read(where: Path, network: nn.Module | None) -> Any:
    if (found := recognised(where)) is not None:
        if network is not None:
            raise ValueError(f"{printable(str(where))} says itself what its network is: leave network out")
        return found.load(where)
    if where.is_file():
        raise ValueError(
            f"{printable(str(where))} is no model that says what it is: weights alone are read by "
            "elucidiff.interop.openai.load and its fellows, which are told the settings (a format of your own needs "
            "its module: --plugin MODULE)"
        )
    return model_folder.load(where, network=network)


def checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of all that decides what a model returns: see :func:`.model_folder.checksum`; of another format, of all
    its files.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a description is damaged.
    """
    where = Path(path)
    if recognised(where) is None:
        return model_folder.checksum(where)
    if where.is_file():
        return sha256(where)
    digest = hashlib.sha256()
    for file in sorted(file for file in where.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(where)}\0{sha256(file)}\0".encode())
    return digest.hexdigest()


def load_guide(
    guide: str | os.PathLike[str], model: str | os.PathLike[str] | None, device: str | torch.device | None = None
) -> Any:
    """The worse model of autoguidance, ready on its device; see :func:`load`.

    Args:
        guide: where it is.
        model: where the model that is guided is, if it has a place.
        device: where its weights are to be.

    Raises:
        ValueError: both are the same model, or the guide is damaged.
        OSError: it cannot be read.
    """
    if model is not None and checksum(guide) == checksum(model):
        raise ValueError(
            f"--guide {guide} is the same model as {model}, which changes nothing: give a smaller or an earlier one"
        )
    return load(guide, device)
