"""What it costs to compute a network, and whether its code can be compiled: training and sampling decide by these."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from elucidiff.networks.base import Blueprint


@dataclass(frozen=True)
class Payoff:
    """What another way of computing costs and gains.

    Attributes:
        seconds: time to make it ready.
        gain: how many times faster it is then.
    """

    seconds: float
    gain: float

    def worth(self, seconds: float) -> bool:
        """Whether work of so many ``seconds`` saves at least twice what making it ready costs."""
        return self.saved(seconds) >= 2 * self.seconds

    def saved(self, seconds: float) -> float:
        """What work of so many ``seconds`` takes less, not counting the time to make it ready."""
        return seconds * (1 - 1 / self.gain)


def forward_flops(blueprint: Blueprint) -> int:
    """Floating-point operations of a network's forward pass for one sample, counted without computing it.

    Args:
        blueprint: how it is built.
    """
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        blueprint.build()(torch.empty(1, *blueprint.sample_shape), torch.empty(1))
    return int(counter.get_total_flops())


def try_compiler(device: torch.device) -> None:
    """Fail, with whatever error that brings, in seconds rather than minutes where there is no working compiler."""
    x = torch.ones(8, device=device, requires_grad=True)
    torch.autograd.backward(torch.compile(lambda x: (x.sin() + 1).sum(), dynamic=False)(x))


def in_one_line(error: BaseException) -> str:
    """What a compiler or exporter complains of, which may be pages, in the first 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
