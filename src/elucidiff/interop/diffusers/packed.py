"""Transformers that see a latent as a sequence of patches, as those of Flux do: called on latents as others are."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.denoisers.conditions import Conditions, is_named
from elucidiff.interop.diffusers.network import DiffusersNetwork, load_model

_SIDE = 2
_GUIDANCE = 3.5  # of FluxPipeline
_TIMES = 1000  # by which these transformers multiply what they are told


def is_packed(model: nn.Module) -> bool:
    """True if a network takes packed latents and the positions of their patches."""
    return {"img_ids", "txt_ids"} <= set(inspect.signature(model.forward).parameters)


class PackedNetwork(DiffusersNetwork):
    """A transformer of 2x2 patches as a network of latents (B, C, H, W), with H and W even.

    Its conditions are ``encoder_hidden_states`` (B, L, E) and ``pooled_projections`` (B, P), as FluxPipeline makes
    them of a prompt; and ``guidance`` (B,), if it was distilled with guidance: 3.5 unless it is given. The positions
    of patches and of words are added here. A sample may have any size.

    Args:
        model: the transformer.
    """

    def forward(self, x: Tensor, t: Tensor, condition: Conditions | None = None, _: Tensor | None = None) -> Tensor:
        """The network's output, unpacked; see :meth:`.DiffusersNetwork.forward`.

        Raises:
            ValueError: a condition is missing or not among the network's, or a side of ``x`` is odd.
        """
        if x.ndim != 4 or x.shape[2] % _SIDE or x.shape[3] % _SIDE:
            raise ValueError(f"samples have shape {tuple(x.shape[1:])}, but must be (C, H, W) with even sides")
        if condition is None or not is_named(condition):
            raise ValueError("this model needs conditions by name: encoder_hidden_states and pooled_projections")
        given = self._named({name: value.to(x.device) for name, value in condition.items()}, x)
        if "pooled_projections" not in given:
            raise ValueError("the network needs pooled_projections among its conditions")
        config: Any = self.model.config
        if config.guidance_embeds:
            given.setdefault("guidance", x.new_full((x.shape[0],), _GUIDANCE))
        rows, columns = x.shape[2] // _SIDE, x.shape[3] // _SIDE
        places = torch.meshgrid(
            torch.zeros(1, device=x.device, dtype=x.dtype),
            torch.arange(rows, device=x.device, dtype=x.dtype),
            torch.arange(columns, device=x.device, dtype=x.dtype),
            indexing="ij",
        )
        words = given["encoder_hidden_states"].shape[1]
        arguments: dict[str, Any] = {
            "hidden_states": self._packed(x),
            "timestep": t.expand(x.shape[0]) / _TIMES,
            "img_ids": torch.stack([place.flatten() for place in places], 1),
            "txt_ids": x.new_zeros(words, 3),
            "return_dict": False,
            **given,
        }
        output: Tensor = self._unpacked(self.model(**arguments)[0], rows, columns)
        return output if self.sign == 1 else self.sign * output

    def _packed(self, x: Tensor) -> Tensor:
        """(B, C, H, W) as patches (B, H W / 4, 4 C), those of a row after one another."""
        batch, channels, height, width = x.shape
        patches = x.reshape(batch, channels, height // _SIDE, _SIDE, width // _SIDE, _SIDE)
        return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def _unpacked(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        batch = patches.shape[0]
        x = patches.reshape(batch, rows, columns, -1, _SIDE, _SIDE).permute(0, 3, 1, 4, 2, 5)
        return x.reshape(batch, -1, rows * _SIDE, columns * _SIDE)


def load_network(folder: Path, sign: int = 1) -> DiffusersNetwork:
    """The network of a folder, as :func:`.network.load_model` reads it, called on pictures.

    Args:
        folder: see there.
        sign: what its output is multiplied with.
    """
    model = load_model(folder)
    return (PackedNetwork if is_packed(model) else DiffusersNetwork)(model, sign).eval()
