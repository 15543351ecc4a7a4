"""An autoencoder of diffusers, variational or tiny, from its folder."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from elucidiff import parts
from elucidiff.autoencoders import base
from elucidiff.autoencoders.base import told
from elucidiff.interop.diffusers.autoencoder import Autoencoder, load_autoencoder
from elucidiff.interop.diffusers.network import WEIGHTS
from elucidiff.untrusted import printable, read_json


@parts.part("autoencoder", "diffusers")
@dataclass(frozen=True)
class DiffusersVAE(base.Autoencoder):
    """An autoencoder of diffusers: AutoencoderKL, AutoencoderTiny and others that encode and decode.

    Built by the installed package from ``config.json``, and filled from safetensors; its latents have the scale and
    shift that its settings name.

    Args:
        folder: with ``config.json`` and the weights.
    """

    folder: str

    @classmethod
    def named(cls, text: str) -> base.Autoencoder | None:
        """See :meth:`.Autoencoder.named`."""
        path = Path(text).expanduser()
        inner = path / "vae" if (path / "vae" / "config.json").is_file() else path
        if not (inner / "config.json").is_file():
            return None
        config = read_json(inner / "config.json")
        name = config.get("_class_name") if isinstance(config, dict) else None
        return cls(str(inner.resolve())) if isinstance(name, str) and name.startswith("Autoencoder") else None

    def files(self) -> Mapping[str, Path]:
        """See :meth:`.Autoencoder.files`."""
        folder = Path(self.folder)
        weights = sorted(folder.glob(f"{WEIGHTS}*.safetensors*"))
        return {file.name: file for file in (folder / "config.json", *weights)}

    def among(self, files: Mapping[str, Path]) -> Self:
        """See :meth:`.Autoencoder.among`."""
        return replace(self, folder=str(files["config.json"].parent))

    def encode(self, images: Tensor) -> Tensor:
        """See :meth:`.Autoencoder.encode`."""
        return self.posterior(images)[0]

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :meth:`.Autoencoder.posterior`."""
        found: tuple[Tensor, Tensor | None] = self._tried(images, "encode pictures", _loaded(self.folder).posterior)
        return found

    def decode(self, latents: Tensor) -> Tensor:
        """See :meth:`.Autoencoder.decode`."""
        pictures: Tensor = self._tried(latents, "decode latents", _loaded(self.folder).decode)
        return pictures

    def _tried(self, x: Tensor, doing: str, function: Any) -> Any:
        try:
            return function(x)
        except (RuntimeError, TypeError, IndexError) as error:  # of PyTorch, for a shape that does not fit
            raise ValueError(
                f"{printable(self.folder)} cannot {doing} of shape {tuple(x.shape[1:])}: {told(error)}"
            ) from None


@functools.lru_cache(maxsize=2)
def _loaded(folder: str) -> Autoencoder:
    return load_autoencoder(folder)
