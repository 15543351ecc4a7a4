"""The autoencoder of a latent model of diffusers: images to latents and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.interop.diffusers.network import load_model
from elucidiff.untrusted import printable


class Autoencoder(nn.Module):
    """Latents as the diffusion model has them, z = (y - shift) scale with y the autoencoder's own, and images.

    Args:
        model: an autoencoder of diffusers, with ``encode`` and ``decode``; its settings say ``scaling_factor`` and
            ``shift_factor``.

    Raises:
        ValueError: it is no autoencoder.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not hasattr(model, "encode") or not hasattr(model, "decode"):
            raise ValueError(f"a {type(model).__name__} is no autoencoder: it does not encode and decode")
        self.model: Any = model
        config: Any = self.model.config
        self.scale = float(config.get("scaling_factor") or 1.0)
        self.shift = float(config.get("shift_factor") or 0.0)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images in [-1, 1], not clamped, in the type of ``latents``."""
        y = (latents / self.scale + self.shift).to(next(self.model.parameters()).dtype)
        images: Tensor = self.model.decode(y).sample
        return images.to(latents.dtype)

    def encode(self, images: Tensor) -> Tensor:
        """Latents of images in [-1, 1]: the mean of their distribution, where the autoencoder gives one."""
        return self.posterior(images)[0]

    @torch.no_grad()
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and standard deviation of the latents of images in [-1, 1]; None where there is no distribution."""
        encoded = self.model.encode(images.to(next(self.model.parameters()).dtype))
        std = None
        if hasattr(encoded, "latent_dist"):
            y: Tensor = encoded.latent_dist.mode()
            std = (encoded.latent_dist.std * self.scale).to(images.dtype)
        else:
            y = encoded.latents
        return ((y - self.shift) * self.scale).to(images.dtype), std


def load_autoencoder(path: str | os.PathLike[str]) -> Autoencoder:
    """The autoencoder of a pipeline's folder, in float32, in evaluation mode.

    Args:
        path: the pipeline's folder, with ``vae/``; or that one itself.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is damaged, what it holds is no autoencoder, or diffusers is not installed.
    """
    folder = Path(path)
    inner = folder / "vae" if (folder / "vae").is_dir() else folder
    if not (inner / "config.json").is_file():
        raise FileNotFoundError(f"{printable(str(folder))} has no autoencoder: neither vae/ nor config.json")
    return Autoencoder(load_model(inner)).eval()
