"""Products with the transposed Jacobian of a denoiser, by reverse-mode differentiation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Linearised:
    """A function y = F(x) of a batch, of which each sample depends on its own x alone; :func:`linearise` makes it.

    Attributes:
        value: y, cut off from the graph.
    """

    value: Tensor
    _x: Tensor
    _y: Tensor

    def transposed(self, v: Tensor) -> Tensor:
        """(dF/dx)^T v of each sample, shaped like x: one backward pass.

        Args:
            v: shaped like y.
        """
        with torch.inference_mode(False):
            (product,) = torch.autograd.grad(
                self._y, self._x, v.to(self._y.dtype), retain_graph=True, allow_unused=True, materialize_grads=True
            )
        return product


def linearise(function: Callable[[Tensor], Tensor], x: Tensor) -> Linearised:
    """Evaluate ``function`` at ``x`` so that products with its transposed Jacobian can follow.

    It works within ``torch.no_grad`` and ``torch.inference_mode``, as samplers run. Neither ``x`` nor the parameters
    of the function get a gradient.

    Args:
        function: of a batch (B, ...).
        x: where to evaluate it, floating point.

    Raises:
        ValueError: the result cannot be differentiated.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        y = function(x)
    if not y.requires_grad:
        raise ValueError(
            "the denoiser's output has no gradient with respect to its input, which is needed here: "
            "choose one that PyTorch can differentiate (the eager backend)"
        )
    return Linearised(y.detach(), x, y)
