"""Autoencoders: their type, and opening one by what the user names."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.files import sha256
from elucidiff.untrusted import clipped, printable


class Autoencoder(ABC):
    """Pictures x to latents z = E(x), which are smaller, and back, x = D(z), nearly.

    A part of the kind ``autoencoder``: a frozen dataclass whose fields are its settings. One's own needs
    :meth:`encode` and :meth:`decode`; the others have defaults.

    >>> import elucidiff as ed, torch
    >>> from dataclasses import dataclass
    >>> @ed.part("autoencoder", "example_halves")
    ... @dataclass(frozen=True)
    ... class Halves(ed.autoencoders.Autoencoder):
    ...     "Means of 2 x 2 pixels."
    ...     def encode(self, images):
    ...         return torch.nn.functional.avg_pool2d(images, 2)
    ...     def decode(self, latents):
    ...         return torch.nn.functional.interpolate(latents, scale_factor=2)
    >>> ed.autoencoders.latent_shape(Halves(), (3, 8, 8))
    (3, 4, 4)
    """

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Latents ``(B, c, *small)`` of pictures in [-1, 1], float32 ``(B, C, *spatial)``; where the encoder gives a
        distribution of them, its mean."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures, in [-1, 1] or nearly, of latents."""

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and standard deviation of the latents; None for the latter where the encoder gives one latent each."""
        return self.encode(images), None

    def files(self) -> Mapping[str, Path]:
        """The files that it is made of, by the names under which :meth:`among` finds them; none by default."""
        return {}

    def among(self, files: Mapping[str, Path]) -> Self:
        """The same, its files elsewhere."""
        return self

    def suited_to(self, images: Tensor) -> Self:
        """The same, with the settings that nobody gave found by pictures in [-1, 1]."""
        return self

    @classmethod
    def named(cls, text: str) -> Autoencoder | None:
        """The autoencoder of this class that is in a file or folder, None if what is there is something else."""
        return None

    def fingerprint(self) -> str:
        """SHA-256 of its files, by their names, and of its settings, without where the files are."""
        files = {name: sha256(path) for name, path in self.files().items()}
        here = self.among({name: Path(name) for name in files})
        return hashlib.sha256(json.dumps([parts.to_plain(here), files], sort_keys=True).encode()).hexdigest()


def open_autoencoder(given: str | os.PathLike[str] | Autoencoder) -> Autoencoder:
    """Open an autoencoder.

    Args:
        given: a folder with an ONNX pair (an encoder and a decoder, by their names), the two files with a comma
            between them, or one of them; a folder of a diffusers VAE, or of a pipeline with one; a part, such as
            ``mine:width=3`` from a module named with ``--plugin``.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: it is damaged, or no autoencoder.

    >>> import elucidiff as ed
    >>> ed.autoencoders.open_autoencoder("nowhere.onnx")
    Traceback (most recent call last):
        ...
    FileNotFoundError: there is no autoencoder nowhere.onnx
    """
    if isinstance(given, Autoencoder):
        return given
    text = os.fspath(given)
    name = text.partition(":")[0]
    if name in parts.parts_of("autoencoder") and not os.path.exists(text):
        spelled: Autoencoder = parts.parse("autoencoder", text)
        return spelled
    for cls in parts.parts_of("autoencoder").values():
        if isinstance(cls, type) and issubclass(cls, Autoencoder) and (found := cls.named(text)) is not None:
            return found
    if os.path.exists(os.path.expanduser(text)):
        raise ValueError(
            f"{clipped(text)} is no autoencoder: expected a folder with an encoder and a decoder in ONNX, one of "
            "these files, or a folder of a diffusers VAE"
        )
    if os.sep in text or Path(text).suffix:
        raise FileNotFoundError(f"there is no autoencoder {clipped(text)}")
    raise FileNotFoundError(
        f"there is no autoencoder {clipped(text)}: neither a file or folder nor a part of that name (one of your own "
        "needs its module: --plugin MODULE)"
    )


def latent_shape(autoencoder: Autoencoder, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the latents of pictures of a shape, found by encoding a grey one and decoding what comes of it.

    Raises:
        ValueError: the autoencoder does not take such pictures, or encoder and decoder do not fit each other.

    >>> import elucidiff as ed, torch
    >>> from dataclasses import dataclass
    >>> @ed.part("autoencoder", "example_quarters")
    ... @dataclass(frozen=True)
    ... class Quarters(ed.autoencoders.Autoencoder):
    ...     "Means of 4 x 4 pixels."
    ...     def encode(self, images):
    ...         return torch.nn.functional.avg_pool2d(images, 4)
    ...     def decode(self, latents):
    ...         return torch.nn.functional.interpolate(latents, scale_factor=4)
    >>> ed.autoencoders.latent_shape(Quarters(), (1, 18, 18))
    Traceback (most recent call last):
        ...
    ValueError: pictures of 18x18 cannot be encoded: sides must be divisible by 4; import with --resize 16
    """
    sides = "x".join(map(str, shape[1:]))
    grey = torch.zeros(1, *shape)
    latents = autoencoder.encode(grey)
    if latents.ndim < 2 or len(latents) != 1:
        raise ValueError(
            f"the encoder makes {tuple(latents.shape)} of a picture {tuple(grey.shape)}: expected a batch"
        )
    back = autoencoder.decode(latents)
    if back.ndim != grey.ndim or back.shape[1] != shape[0]:
        raise ValueError(
            f"encoder and decoder do not fit each other: pictures of {shape[0]} channels come back as "
            f"{tuple(back.shape[1:])}"
        )
    if back.shape != grey.shape:
        small, large = latents.shape[2:], back.shape[2:]
        factors = [whole // part for whole, part in zip(large, small, strict=True) if whole % part == 0]
        if len(factors) == len(small) and any(side % each for side, each in zip(shape[1:], factors, strict=True)):
            best = min(shape[1:]) // factors[0] * factors[0]
            raise ValueError(
                f"pictures of {sides} cannot be encoded: sides must be divisible by {factors[0]}; import with "
                f"--resize {max(best, factors[0])}"
            )
        raise ValueError(
            f"encoder and decoder do not fit each other: pictures of {sides} come back as "
            f"{'x'.join(map(str, back.shape[2:]))}"
        )
    return tuple(latents.shape[1:])


def in_batches(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """``function`` of ``size`` rows at a time, in as much memory as these take."""
    return torch.cat([function(x[start : start + size]) for start in range(0, len(x), size)])


def told(error: BaseException) -> str:
    """The message of a library, in a line."""
    return printable(clipped(" ".join(str(error).split()), 300)) or type(error).__name__
