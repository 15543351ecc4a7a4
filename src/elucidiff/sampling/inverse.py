"""Linear inverse problems: samples given a measurement y = A x + noise of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, DenoiserModule, Wrapped, as_denoiser, ask
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.tuned import refuse_tuned
from elucidiff.design.values import per_sample
from elucidiff.devices import onto, widest_type
from elucidiff.sampling.checks import seeds_from
from elucidiff.sampling.given import labels_or_uniform
from elucidiff.sampling.likelihood.density import linearise
from elucidiff.sampling.sampler import Sampler, SamplerChoice

__all__ = ["AveragePool", "Mask", "Posterior", "Restored", "restore"]

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


def solve(apply: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Solve M z = b by generalised conjugate residuals (Eisenstat, Elman and Schultz 1983) for each sample by itself.

    Of all z in the Krylov space, each iteration takes the one with the smallest residual. So more iterations never do
    worse. Plain conjugate gradients rely on M being symmetric and positive definite, which Jacobians of trained
    networks are only nearly: on an 8x8 model of digits they diverged after three iterations, while these kept
    improving.

    Args:
        apply: z -> M z for a batch.
        b: (B, ...).
        iterations: at most so many products with M.
        tolerance: a sample stops when its residual is this multiple of |b|.

    Returns:
        z, shaped like ``b``.
    """
    z = torch.zeros_like(b)
    residual = b
    goal = tolerance**2 * _dot(b, b)
    earlier: list[tuple[Tensor, Tensor]] = []
    for _ in range(iterations):
        direction, product = residual, apply(residual)
        for before, made in earlier:
            along = _dot(product, made)
            direction, product = direction - along * before, product - along * made
        length = _dot(product, product).sqrt()
        goes_on = (_dot(residual, residual) > goal) & (length > 0)
        # Directions whose products are orthonormal.
        direction, product = (torch.where(goes_on, each / length, 0) for each in (direction, product))
        earlier.append((direction, product))
        step = _dot(residual, product)
        z = z + step * direction
        residual = residual - step * product
    return z


def _dot(u: Tensor, v: Tensor) -> Tensor:
    """The inner product of each sample, shaped to broadcast."""
    return (u * v).flatten(1).sum(1).reshape(-1, *[1] * (u.ndim - 1))


class Posterior(Wrapped):
    """E[x | x_t, y] for a measurement y = A x + noise: a denoiser, so every solver samples from p(x | y) with it.

    Given x_t, the clean sample has mean D(x_t; sigma) and covariance V = sigma^2 dD/dx_t^T (Tweedie's formulas).
    Taking that distribution for Gaussian (Rozet et al. 2024, Sections 3.1 and 3.2),

        E[x | x_t, y] = D + V A^T (noise^2 I + A V A^T)^-1 (y - A D)

    which is exact for Gaussian data. V is known by vector-Jacobian products only, and the system is solved
    iteratively: see :func:`solve`.

    A call costs one evaluation of D with its graph kept, and ``iterations`` + 1 backward passes, which do not count
    as evaluations.

    Args:
        denoiser: D, differentiable.
        measure: A, a linear function of a batch of samples, each by itself: :class:`.Mask`, :class:`.AveragePool`, or
            any other made of operations that PyTorch differentiates.
        y: what was measured, shaped like A of one sample, (1, ...); the same for all samples of a batch.
        noise: standard deviation of the noise of y, in units of the data; > 0. Half a grey level of 8 bits is 0.004.
        iterations: of the linear solver; exact data need as many as y has values, networks few.
        tolerance: relative residual at which it ends earlier.
        sample_shape: (C, *spatial); by default the denoiser's.

    Raises:
        ValueError: a value is out of its range or not finite, ``measure`` is not linear, or does not fit ``y``.

    >>> import elucidiff as ed
    >>> prior = ed.ideal.GaussianMixture(torch.zeros(1, 1, 2), torch.eye(2)[None], torch.ones(1))  # N(0, I)
    >>> known = ed.inverse.Mask(torch.tensor([True, False]))
    >>> posterior = ed.inverse.Posterior(prior, known, torch.tensor([[[3.0, 0.0]]]), noise=0.1, sample_shape=(1, 2))
    >>> x = ed.sample(posterior, torch.randn(500, 1, 2, generator=torch.Generator().manual_seed(0)), batch_size=None)
    >>> [round(float(mean), 1) for mean in x.mean(0)[0]]
    [3.0, 0.1]
    """

    y: Tensor

    def __init__(
        self,
        denoiser: DenoiserLike,
        measure: Measurement,
        y: Tensor,
        noise: float,
        *,
        iterations: int = 3,
        tolerance: float = 1e-6,
        sample_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(denoiser)
        if not (0 < noise < math.inf):
            raise ValueError(
                f"noise is {noise}, but must be a finite number > 0 (0.004: half a grey level of 8 bits)"
            )
        if iterations < 1:
            raise ValueError(f"iterations is {iterations}, but must be at least 1")
        if not 0 <= tolerance < 1:
            raise ValueError(f"tolerance is {tolerance}, but must be in [0, 1)")
        if not y.is_floating_point() or not bool(y.isfinite().all()):
            raise ValueError("y must be floating point and finite")
        self._shape = super().sample_shape if sample_shape is None else tuple(sample_shape)
        if not self._shape:
            raise ValueError("the denoiser does not state the shape of its samples: give sample_shape=(C, *spatial)")
        check_measurement(measure, y, self._shape)
        self.measure = measure
        self.noise = noise
        self.iterations = iterations
        self.tolerance = tolerance
        self.register_buffer("y", y)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape (C, *spatial) of a sample."""
        return self._shape

    @property
    def products(self) -> int:
        """Backward passes of each sample in a call."""
        return self.iterations + 1

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None = None) -> Tensor:
        """E[x | x_t, y].

        Args:
            x: noisy samples x_t (B, C, *spatial).
            sigma: noise level in units of the data, a float, () or (B,).
            labels: as the denoiser takes them.

        Raises:
            ValueError: what the denoiser raises, or it has no gradient.
        """
        levels = torch.as_tensor(sigma, dtype=x.dtype)
        at = linearise(lambda noisy: ask(self.denoiser, noisy, levels, labels).to(x.dtype), x)
        variance = per_sample(onto(levels, x.device), x).square()
        transposed = adjoint(self.measure, x)

        def covariance(v: Tensor) -> Tensor:
            """V A^T v."""
            return variance * at.transposed(transposed(v))

        missing = self.y.to(x) - self.measure(at.value)
        solved = solve(
            lambda v: self.noise**2 * v + self.measure(covariance(v)), missing, self.iterations, self.tolerance
        )
        return at.value + covariance(solved)


@dataclass(frozen=True)
class Restored:
    """Samples that agree with a measurement.

    Attributes:
        x: the samples (B, C, *spatial), on the CPU.
        misfit: root mean square distance of what each would measure from y, (B,), over the values that are known.
        nfe: network evaluations of each: one number, or (B,) from an adaptive solver.
        products: backward passes at each evaluation.

    >>> import elucidiff as ed
    >>> prior = ed.ideal.GaussianMixture(torch.zeros(1, 1, 2), torch.eye(2)[None], torch.ones(1))  # N(0, I)
    >>> known = ed.inverse.Mask(torch.tensor([True, False]))
    >>> found = ed.inverse.restore(prior, known, torch.tensor([[[3.0, 0.0]]]), seeds=4, noise=0.1)
    >>> found.x.shape, found.nfe, found.products
    (torch.Size([4, 1, 2]), 35, 4)
    """

    x: Tensor
    misfit: Tensor
    nfe: int | Tensor
    products: int


def restore(
    denoiser: DenoiserLike,
    measure: Measurement,
    y: Tensor,
    seeds: Sequence[int] | int,
    *,
    noise: float = 0.01,
    iterations: int = 3,
    sampler: SamplerChoice = None,
    guide: DenoiserLike | None = None,
    labels: str | Tensor | Sequence[Any] | None = None,
    any_class: bool = False,
    batch_size: int = 16,
) -> Restored:
    """Draw samples that agree with a measurement, one a seed; see :class:`Posterior` for the method.

    Args:
        denoiser: D, used where it is.
        measure: A: a :class:`.Mask`, an :class:`.AveragePool`, or any other linear function.
        y: what was measured, (1, ...).
        seeds: one a sample, or how many.
        noise: standard deviation of the noise of y, in units of the data.
        iterations: of the linear solver at each evaluation.
        sampler: how to draw; see :data:`.SamplerChoice`. Under guidance the guided denoiser is given the measurement.
        guide: the worse model of autoguidance.
        labels: taken in turn; see :func:`.labels_or_uniform`. Needed where the denoiser takes any.
        any_class: take classes that the training data did not have.
        batch_size: samples in one call of the denoiser.

    Raises:
        ValueError: labels, the measurement or the sampler do not fit the denoiser, or a value is out of its range.

    >>> import elucidiff as ed
    >>> prior = ed.ideal.GaussianMixture(torch.zeros(1, 1, 2), torch.eye(2)[None], torch.ones(1))  # N(0, I)
    >>> known = ed.inverse.Mask(torch.tensor([True, False]))
    >>> found = ed.inverse.restore(prior, known, torch.tensor([[[3.0, 0.0]]]), seeds=4, noise=0.1)
    >>> float(found.misfit.max()) < 0.3
    True
    """
    denoiser = as_denoiser(denoiser)
    refuse_tuned(denoiser, "restoration")
    chosen = Sampler.chosen(sampler, denoiser)
    guided = chosen.guided(denoiser, guide)
    chosen.sigmas(guided)  # refuses noise levels that the model does not know
    seeds = seeds_from(seeds)
    rows = _labels(labels, denoiser, len(seeds), any_class)
    shape = tuple(guided.sample_shape) or None
    place = denoiser.device
    posterior = Posterior(
        guided, measure, y.to(place, widest_type(place)), noise, iterations=iterations, sample_shape=shape
    )
    # The measurement is added to the denoiser under guidance and clipped, and is neither itself.
    unguided = replace(chosen, guidance=None, clip=None)
    result = unguided.run(posterior, seeds, rows, any_class=True, batch_size=batch_size, device=place)
    x = result.x.cpu()
    # Where nothing is known, both sides of the difference are 0.
    share = float(measure(torch.ones_like(x[:1])).mean()) if isinstance(measure, Mask) else 1.0
    misfit = ((measure(x) - y.cpu()).square().flatten(1).mean(1) / share).sqrt()
    return Restored(x, misfit, result.nfe, posterior.products)


def _labels(
    labels: str | Tensor | Sequence[Any] | None, denoiser: DenoiserModule, seeds: int, any_class: bool
) -> Tensor | Literal["uniform"] | None:
    if labels is None:
        if denoiser.label_dim:
            raise ValueError(
                "the model takes labels, and nobody knows that of the picture: give it with --labels, or try "
                "several, which are taken in turn"
            )
        return None
    asked = labels_or_uniform(labels, denoiser, any_class=any_class)
    return asked if not isinstance(asked, Tensor) else asked[torch.arange(seeds) % len(asked)]
