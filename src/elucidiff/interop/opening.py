"""A model of any format that says itself what it is: ours, or another library's, recognised by content.

A reader of such a format registers itself::

    @opens(lambda path: (path / "model_index.json").is_file())
    def load(path): ...

Formats whose files hold weights alone (``interop.openai``, say) are read by their own ``load``, and told the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from elucidiff.denoisers import model_folder
from elucidiff.untrusted import printable

_Reader = TypeVar("_Reader", bound=Callable[..., Any])
_READERS: list[tuple[Callable[[Path], bool], Callable[..., Any]]] = []


def opens(recognises: Callable[[Path], bool]) -> Callable[[_Reader], _Reader]:
    """Register a reader of paths of which ``recognises`` is true."""

    def register(reader: _Reader) -> _Reader:
        _READERS.append((recognises, reader))
        return reader

    return register


def load(path: str | os.PathLike[str], device: str | torch.device | None = None) -> Any:
    """Read a model: a model folder, or what another library saved with its description.

    Args:
        path: a folder that :meth:`.Denoiser.save` wrote; a network snapshot of NVlabs/edm or edm2; a file or folder
            of another library that holds its own settings.
        device: where its weights are to be; the CPU by default.

    Returns:
        The denoiser, in evaluation mode.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: it is damaged, or of a format that is not known. The message names the file.
    """
    denoiser = _read(Path(path))
    return denoiser if device is None else denoiser.to(device)


def _read(where: Path) -> Any:
    for recognises, reader in _READERS:
        if recognises(where):
            return reader(where)
    if where.is_file():
        raise ValueError(
            f"{printable(str(where))} is no model that says what it is: weights alone are read by "
            "elucidiff.interop.openai.load and its fellows, which are told the settings"
        )
    return model_folder.load(where)
