"""Measurements of a picture: linear functions of it, and their adjoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Measurement = Callable[[Tensor], Tensor]
"""A linear function of a batch, y = A x: (B, C, *spatial) -> (B, ...), each sample by itself."""


@dataclass(frozen=True, eq=False)
class Mask:
    """In-painting: A x = k x, with k 1 where the picture is known and 0 where it is to be painted.

    Args:
        known: booleans, (*spatial) for all channels alike, or (C, *spatial).

    Raises:
        ValueError: ``known`` is not boolean, or everything or nothing is known.

    >>> import elucidiff as ed
    >>> ed.inverse.Mask(torch.tensor([True, False]))(torch.tensor([[[3.0, 4.0]]])).tolist()
    [[[3.0, 0.0]]]
    """

    known: Tensor

    def __post_init__(self) -> None:
        if self.known.dtype != torch.bool:
            raise ValueError(f"a mask must be boolean, not {self.known.dtype}")
        if bool(self.known.all()):
            raise ValueError("the mask leaves everything as it is: mark what is to be painted")
        if not bool(self.known.any()):
            raise ValueError("the mask leaves nothing known: to paint a whole picture, draw a sample")

    def __call__(self, x: Tensor) -> Tensor:
        """A x, with zeros where nothing is known."""
        return x * self.known.to(x.device, x.dtype)


@dataclass(frozen=True)
class AveragePool:
    """Super-resolution: A x is the mean over blocks of ``factor`` values along each spatial dimension.

    Args:
        factor: at least 2.

    Raises:
        ValueError: ``factor`` is less, or, in a call, does not divide a side.

    >>> import elucidiff as ed
    >>> ed.inverse.AveragePool(2)(torch.tensor([[[1.0, 3.0, 5.0, 5.0]]])).tolist()
    [[[2.0, 5.0]]]
    """

    factor: int

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise ValueError(f"the factor is {self.factor}, but must be at least 2")

    def __call__(self, x: Tensor) -> Tensor:
        """A x: (B, C, *spatial / factor)."""
        sides = x.shape[2:]
        if not sides or any(side % self.factor for side in sides):
            raise ValueError(f"the factor {self.factor} does not divide the sides {tuple(sides)} of a sample")
        split = [part for side in sides for part in (side // self.factor, self.factor)]
        return x.reshape(*x.shape[:2], *split).mean(dim=list(range(3, 3 + 2 * len(sides), 2)))

    def enlarged(self, y: Tensor) -> Tensor:
        """The means as samples of full size: each value ``factor`` times along each spatial dimension."""
        for dimension in range(2, y.ndim):
            y = y.repeat_interleave(self.factor, dimension)
        return y


def adjoint(measure: Measurement, like: Tensor) -> Callable[[Tensor], Tensor]:
    """A^T of a measurement, found by differentiating it, for batches of the size of ``like``.

    Args:
        measure: A.
        like: a batch (B, C, *spatial).

    Returns:
        v (B, ...) -> A^T v (B, C, *spatial).
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.zeros_like(like, requires_grad=True)
        y = measure(x)
    if not y.requires_grad:
        raise ValueError("the measurement has no gradient: build it of operations that PyTorch differentiates")

    def transposed(v: Tensor) -> Tensor:
        with torch.inference_mode(False):
            (product,) = torch.autograd.grad(y, x, v, retain_graph=True)
        return product

    return transposed


def check_measurement(measure: Measurement, y: Tensor, sample_shape: tuple[int, ...]) -> None:
    """Raise ValueError unless ``measure`` is linear and makes (1, ...) like ``y`` of a sample of that shape."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1, *sample_shape, dtype=y.dtype, generator=generator).to(y.device) for _ in range(2))
    try:
        found = measure(2 * a - 3 * b)
    except RuntimeError as error:
        raise ValueError(
            f"samples of shape {sample_shape} cannot be measured: {str(error).splitlines()[0]}"
        ) from None
    if found.shape != y.shape:
        raise ValueError(
            f"y has shape {tuple(y.shape)}, but measuring one sample of shape {sample_shape} gives "
            f"{tuple(found.shape)}"
        )
    expected = 2 * measure(a) - 3 * measure(b)
    if not torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())):
        raise ValueError("the measurement is not a linear function of the samples")
