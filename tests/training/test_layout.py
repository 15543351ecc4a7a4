"""Channels innermost: chosen where it pays, and kept by every operation once it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from elucidiff import networks
from elucidiff.networks.blocks import Block
from elucidiff.training.config import TrainingConfig
from elucidiff.training.layout import memory_format

BATCH = 2


class Layouts(TorchDispatchMode):
    """Counts the feature maps that operations make, those with channels innermost and the others by operation."""

    def __init__(self, wanted: torch.memory_format, ndim: int) -> None:
        super().__init__()
        self._wanted, self._ndim = wanted, ndim
        self.kept, self.lost = 0, Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(returned.alias_info for returned in func._schema.returns):
            return out  # a view, with the strides of what it is a view of
        for value in tree_leaves(out):
            if isinstance(value, Tensor) and self._is_map(value):
                kept = value.is_contiguous(memory_format=self._wanted)
                self.kept += kept
                self.lost[str(func)] += not kept
        return out

    def _is_map(self, value: Tensor) -> bool:
        return value.ndim == self._ndim and len(value) == BATCH and value.shape[1] > 3 and value.shape[2:].numel() > 1


@pytest.mark.parametrize("make", [networks.UNet.ddpmpp, networks.UNet.ncsnpp, networks.ADM])
def test_every_operation_keeps_pictures_channels_last(make: Callable[..., networks.Network]) -> None:
    """Convolutions, normalisations, attention, resampling and dropout, forward and backward."""
    network = make(
        (3, 16, 16), base_channels=64, channel_multipliers=(1, 2), blocks_per_level=1, attention_resolutions=(16,),
        dropout=0.1,
    )  # fmt: skip
    layouts = _layouts(network, torch.channels_last)
    lost = {name: count for name, count in layouts.lost.items() if count and "scaled_dot_product" not in name}
    assert not lost
    assert layouts.kept > 100


def test_volumes_stay_channels_last_where_nothing_is_pooled() -> None:
    network = networks.UNet.ddpmpp(
        (2, 4, 4, 4), base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=(4,)
    )
    outputs: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, Block):
            module.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    network.to(memory_format=torch.channels_last_3d)(torch.randn(BATCH, 2, 4, 4, 4), torch.randn(BATCH))
    assert len(outputs) == 5
    assert all(output.is_contiguous(memory_format=torch.channels_last_3d) for output in outputs)


@pytest.mark.parametrize(
    ("device", "precision", "dims", "setting", "expected"),
    [
        ("cuda", "fp16", 2, "auto", torch.channels_last),
        ("cuda", "bf16", 2, "auto", torch.channels_last),
        ("cuda", "fp32", 2, "auto", torch.preserve_format),
        ("cuda", "fp16", 2, "off", torch.preserve_format),
        ("cuda", "fp16", 3, "auto", torch.preserve_format),
        ("cuda", "fp16", 1, "auto", torch.preserve_format),
        ("cpu", "bf16", 2, "auto", torch.preserve_format),
        ("cpu", "fp32", 2, "on", torch.channels_last),
        ("cpu", "fp32", 3, "on", torch.channels_last_3d),
    ],
)
def test_choice(device: str, precision: Any, dims: int, setting: Any, expected: torch.memory_format) -> None:
    config = TrainingConfig(data="-", precision=precision, channels_last=setting)
    assert memory_format(config, torch.device(device), dims) == expected


def test_signals_have_one_layout() -> None:
    with pytest.raises(ValueError, match="one layout only"):
        memory_format(TrainingConfig(data="-", channels_last="on"), torch.device("cpu"), 1)


def _layouts(network: nn.Module, wanted: torch.memory_format) -> Layouts:
    network.to(memory_format=wanted).train()
    with Layouts(wanted, ndim=4) as layouts:
        network(torch.randn(BATCH, 3, 16, 16), torch.randn(BATCH)).square().sum().backward()
    return layouts
