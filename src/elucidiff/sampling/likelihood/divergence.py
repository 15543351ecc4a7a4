"""The divergence of a vector field and products with Jacobians, by reverse-mode differentiation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from elucidiff.sampling.seeds import SeededNoise


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


METHODS = ("auto", "exact", "hutchinson")
PROBES = ("rademacher", "gaussian")

EXACT_UP_TO = 32
"""Values in a sample up to which the trace is exact unless asked otherwise: it takes as many backward passes."""


class Divergence(Protocol):
    """What the ODE of the log-density asks of a way to find tr(dF/dx).

    Attributes:
        products: backward passes that a trace takes.
    """

    @property
    def products(self) -> int: ...

    def select(self, rows: Tensor) -> Divergence:
        """The same for the samples with the indices ``rows`` (on the CPU) alone."""
        ...

    def trace(self, at: Linearised) -> Tensor:
        """tr(dF/dx) of each sample, (B,), of a function F of flattened samples (B, n)."""
        ...


@dataclass(frozen=True)
class Exact:
    """tr J = sum_i (J^T e_i)_i, with e_i the unit vectors: n backward passes for samples of n values.

    Args:
        size: n.
    """

    size: int

    @property
    def products(self) -> int:
        """Backward passes that a trace takes: n."""
        return self.size

    def select(self, rows: Tensor) -> Exact:
        """See :meth:`Divergence.select`."""
        return self

    def trace(self, at: Linearised) -> Tensor:
        """See :meth:`Divergence.trace`."""
        total = torch.zeros_like(at.value[:, 0])
        for index in range(self.size):
            unit = torch.zeros_like(at.value)
            unit[:, index] = 1
            total = total + at.transposed(unit)[:, index]
        return total


@dataclass(frozen=True)
class Hutchinson:
    """tr J = E[v^T J v] for random v of mean 0 and covariance I (Hutchinson 1990): one backward pass a probe.

    The probes stay the same along the whole trajectory, so the solver sees a smooth function (Grathwohl et al. 2019,
    FFJORD, Section 3.1).

    Args:
        probes: v, flattened, (K, B, n); the mean over the K is taken.
    """

    probes: Tensor

    @property
    def products(self) -> int:
        """Backward passes that a trace takes: K."""
        return len(self.probes)

    def select(self, rows: Tensor) -> Hutchinson:
        """See :meth:`Divergence.select`."""
        return Hutchinson(self.probes[:, rows.to(self.probes.device)])

    def trace(self, at: Linearised) -> Tensor:
        """See :meth:`Divergence.trace`."""
        products = [v * at.transposed(v) for v in self.probes.to(at.value.dtype)]
        # Row by row, since the order in which a joint reduction sums depends on the size of the batch.
        return torch.stack([row.sum() for row in torch.stack(products).mean(0)])


def divergence_of(
    method: str, x: Tensor, noise: SeededNoise | None, probe: str = "rademacher", probes: int = 1
) -> Divergence:
    """The way to find the trace that plain values ask for.

    Args:
        method: ``"exact"``, ``"hutchinson"``, or ``"auto"`` for the former up to :data:`EXACT_UP_TO` values a sample.
        x: the batch (B, C, *spatial).
        noise: where Hutchinson's probes are drawn from, one seed a sample.
        probe: ``"rademacher"`` for signs, which have the least variance of all independent values (their squares are
            certain), or ``"gaussian"``.
        probes: number of probes K.

    Raises:
        ValueError: a name is unknown, or there are no probes, or their seeds are not one a sample.
    """
    if method not in METHODS:
        raise ValueError(f"divergence is {method!r}, but must be one of {', '.join(METHODS)}")
    if probe not in PROBES:
        raise ValueError(f"probe is {probe!r}, but must be one of {', '.join(PROBES)}")
    if probes < 1:
        raise ValueError(f"probes is {probes}, but must be at least 1")
    size = x[0].numel()
    if is_exact(method, size):
        return Exact(size)
    if noise is None or len(noise.seeds) != len(x):
        raise ValueError(f"Hutchinson's probes need a seed for each of the {len(x)} samples")
    drawn = torch.stack([noise.latents((size,)) for _ in range(probes)]).to(x.device)
    return Hutchinson(torch.where(drawn < 0, -1.0, 1.0) if probe == "rademacher" else drawn)


def is_exact(method: str, size: int) -> bool:
    """True if ``method`` is exact for samples of ``size`` values."""
    return method == "exact" or (method == "auto" and size <= EXACT_UP_TO)
