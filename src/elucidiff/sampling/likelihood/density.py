"""The log-density of a sample, by the change of variables along the ODE, and the divergence that it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from elucidiff.data.scaling import to_unit
from elucidiff.denoisers.base import DenoiserLike
from elucidiff.denoisers.conditions import Conditions
from elucidiff.design.schedules import EDM, Schedule
from elucidiff.devices import state_type
from elucidiff.sampling.checks import check_finite, numbered, schedule_from, solver_from
from elucidiff.sampling.encoding import check_samples, follow, times_up
from elucidiff.sampling.ode import Evaluations, ProbabilityFlow, at_times, probability_flow
from elucidiff.sampling.seeds import SeededNoise, noise_for
from elucidiff.solvers import RK45, Solver
from elucidiff.solvers.base import Time, coefficient


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
    """A way to find tr(dF/dx), for the ODE of the log-density.

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


_WIDTH = 1 / 127.5  # of what to_uint8 turns into one value, in units of the data


def dequantise(images: Tensor, seeds: Sequence[int]) -> Tensor:
    """8-bit images with uniform noise of the width of a grey level: Theis et al. 2016, Section 3.1.

    The level v becomes (v + u) / 127.5 - 1 with u ~ U[-1/2, 1/2). :func:`~elucidiff.data.to_unit` has u = 0, and
    :func:`~elucidiff.data.scaling.to_uint8` turns all of that interval back into v. So a density over the result is
    the density of what is sampled and then rounded.

    Args:
        images: uint8 (B, C, *spatial).
        seeds: of the noise, one an image.

    Returns:
        float64, on the CPU.

    Raises:
        ValueError: the images are not uint8, or the seeds are not one an image.

    >>> import elucidiff as ed
    >>> x = ed.sampling.dequantise(torch.tensor([[[0, 255]]], dtype=torch.uint8), seeds=[0])
    >>> bool((x - torch.tensor([[[-1.0, 1.0]]])).abs().max() <= 0.5 / 127.5)
    True
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype}, but only uint8 ones have grey levels to be dequantised")
    if len(seeds) != len(images):
        raise ValueError(f"there are {len(seeds)} seeds for {len(images)} images")
    drawn = [
        torch.rand(images.shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    return to_unit(images.cpu()).double() + (torch.stack(drawn) - 0.5) * _WIDTH


def bits_per_dim(log_prob: Tensor, size: int, *, eight_bits: bool) -> Tensor:
    """Bits for each value of a sample: -log2 P / n.

    For 8-bit images P is the probability of the grey levels. By Jensen's inequality

        -log2 P(v) <= E_u[ -log2 p(x) ] + n log2(127.5)

    as a level is 1 / 127.5 wide in x (images in [-1, 1]). For other data it is the density itself, which has units
    and may exceed 1.

    Args:
        log_prob: log p(x) in nats, any shape.
        size: values in a sample, n = C H W.
        eight_bits: whether ``x`` was dequantised from 8-bit images.

    >>> import elucidiff as ed
    >>> round(float(ed.sampling.bits_per_dim(torch.tensor(0.0), 1, eight_bits=True)), 3)  # log2(127.5)
    6.994
    """
    bits = -log_prob / (size * math.log(2))
    return bits - math.log2(_WIDTH) if eight_bits else bits


@dataclass(frozen=True)
class LogLikelihood:
    """The result of :func:`log_likelihood`.

    Attributes:
        log_prob: log p(x; sigma_min), (B,) in nats, of x in units of the data.
        latents: where the ODE takes x, (B, C, *spatial), divided by sigma_max.
        nfe: network evaluations of each sample: one number, or (B,) from an adaptive solver.
        products: backward passes of each sample, likewise.
    """

    log_prob: Tensor
    latents: Tensor
    nfe: int | Tensor
    products: int | Tensor


@torch.no_grad()
def log_likelihood(
    denoiser: DenoiserLike,
    x: Tensor,
    sigmas: Sequence[float] | Tensor,
    *,
    solver: Solver = RK45(),  # noqa: B008 (frozen)
    schedule: Schedule = EDM(),  # noqa: B008 (frozen)
    labels: Conditions | None = None,
    divergence: str = "auto",
    probe: str = "rademacher",
    probes: int = 1,
    noise: SeededNoise | None = None,
    batch_size: int | None = 16,
    dtype: torch.dtype = torch.float64,
) -> LogLikelihood:
    """log p(x) under the distribution that following the ODE from N(0, sigma_max^2 I) to sigma_min samples from.

    Along the ODE the density changes by its divergence (Chen et al. 2018, Theorem 1; Song et al. 2021, App. D.2).
    With y = x / s, whatever the schedule and the scaling (Karras et al. 2022, Eq. 4),

        log p(y; sigma_min) = log N(y(t_max); 0, sigma_max^2 I) + int (sigma' / sigma) [n - tr dD(y; sigma)/dy] dt

    The prior is the one that :func:`~elucidiff.sampling.sample` starts from, without sigma_data^2 added to the
    variance. So p is the density of what the model draws, it integrates to 1 for every sigma_max, and the bits/dim
    that follow from it are a code length that can be reached. For the usual ranges the choice hardly matters: the
    two priors differ by the order of n (sigma_data / sigma_max)^2 nats.

    Args:
        denoiser: D, differentiable; in evaluation mode, as dropout would make the density random.
        x: samples (B, C, *spatial) at the noise level sigma_min, on the denoiser's device.
        sigmas: noise levels (N + 1,) as for :func:`~elucidiff.sampling.sample`: decreasing from sigma_max to
            sigma_min and then 0. An adaptive solver needs only these three.
        solver: a one-step solver. With RK45 the log-density is under error control like the samples: an error of atol
            in log p / n weighs as much as one of atol in all values of a sample.
        schedule: sigma(t) and s(t), the curve that the solver follows.
        labels: as for :func:`~elucidiff.sampling.sample`.
        divergence: ``"exact"``, ``"hutchinson"`` or ``"auto"``; see :func:`.divergence_of`.
        probe: ``"rademacher"`` or ``"gaussian"``, for Hutchinson's estimate.
        probes: number of probes.
        noise: seeds of the probes; by default each sample's seed is a checksum of it. The estimate is unbiased for
            log p, and depends on the sample and its own seed alone.
        batch_size: as for :func:`~elucidiff.sampling.sample`.
        dtype: floating type of the state; float64 becomes float32 on a device without it.

    Raises:
        ValueError: an argument is out of its range or does not fit the others, the denoiser has no gradient, or a
            result is not finite (the message names the sample).

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.eye(1)[None], torch.ones(1))  # N(0, 1)
    >>> found = ed.sampling.log_likelihood(denoiser, torch.zeros(1, 1), [80.0, 0.002, 0.0], batch_size=None)
    >>> round(float(found.log_prob), 3)  # -log(2 pi) / 2
    -0.919
    """
    x = check_samples(denoiser, x)
    solver, schedule = solver_from(solver), schedule_from(schedule)
    times = times_up(denoiser, schedule, sigmas, solver, x.device)
    noise = noise_for(x) if noise is None else noise
    chosen = divergence_of(divergence, x, noise, probe, probes)
    flow = probability_flow(denoiser, schedule, x, labels, batch_size)
    joint = DensityFlow(
        flow.denoiser, schedule, len(x), flow.labels, divergence=chosen, sample_shape=tuple(x.shape[1:])
    )
    start = (x.to(state_type(x.device, dtype)) * float(schedule.scale(times[0]))).flatten(1)
    end = follow(joint, solver, torch.cat([start, torch.zeros_like(start[:, :1])], dim=1), times)

    sigma_max = float(schedule.sigma(times[-1]))
    latents = end[:, :-1] / (sigma_max * float(schedule.scale(times[-1])))
    size = latents.shape[1]
    log_normal = -0.5 * (latents.square() + math.log(2 * math.pi * sigma_max**2))
    log_prob = torch.stack([row.sum() for row in log_normal]) + size * end[:, -1]
    check_finite(
        log_prob,
        lambda row: f"the log-likelihood of {numbered(row)}",
        advice="look for NaN in the denoiser's output, or take more steps",
    )
    return LogLikelihood(log_prob, latents.reshape(x.shape), joint.evaluations.nfe, joint.products.nfe)


@dataclass(frozen=True)
class DensityFlow(ProbabilityFlow):
    """The probability-flow ODE joined by the log-density: what a solver sees as one state (B, n + 1).

    The first n columns are the scaled samples, flattened. The last is the integral of (sigma' / sigma)(1 - tr J / n),
    that is the change of log p per value of a sample, which is of the same order in all dimensions.

    Args:
        divergence: finds tr J with J = dD(y; sigma)/dy.
        sample_shape: shape (C, *spatial) of a sample.
        products: counts backward passes.
    """

    divergence: Divergence = field(kw_only=True)
    sample_shape: tuple[int, ...] = field(kw_only=True)
    products: Evaluations = field(default_factory=Evaluations, kw_only=True)

    def select(self, rows: Tensor) -> DensityFlow:
        """See :meth:`.ProbabilityFlow.select`. ``rows`` count from the whole batch."""
        labels = super().select(rows).labels
        return replace(self, labels=labels, rows=rows, divergence=self.divergence.select(rows))

    def denoise(self, x: Tensor, t: Time) -> Tensor:
        """D(y; sigma), flattened, and tr J / n as the last column, (B, n + 1)."""
        (scale,) = at_times(t, lambda t: (self.schedule.scale(t),))
        denoise = super().denoise
        at = linearise(lambda flat: denoise(flat.reshape(-1, *self.sample_shape), t).flatten(1), x[:, :-1])
        trace = coefficient(scale, x[:, -1:]) * self.divergence.trace(at)[:, None]
        self.products.count(torch.tensor(self.divergence.products), self.rows, self.batch)
        return torch.cat([at.value, trace / at.value.shape[1]], dim=1)

    def velocity(self, x: Tensor, t: Time, denoised: Tensor) -> Tensor:
        """d/dt of the state."""
        sigma, sigma_dot = at_times(t, lambda t: (self.schedule.sigma(t), self.schedule.sigma_dot(t)))
        change = coefficient(sigma_dot / sigma, x) * (1 - denoised[:, -1:])
        return torch.cat([super().velocity(x[:, :-1], t, denoised[:, :-1]), change], dim=1)

    def norm(self, values: Tensor) -> Tensor:
        """The size of the samples, or of the log-density if that is larger: each of the two meets the tolerance."""
        return torch.maximum(super().norm(values[:, :-1]), values[:, -1].abs())
