"""Denoising errors of the data at each noise level, and so where there is something to learn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
import torch
from torch import Tensor

from elucidiff.denoisers.ideal import DataPosterior

Array = npt.NDArray[np.float64]

_HELD_OUT = 256
_LEVELS = 40
_VALUES_AT_ONCE = 1 << 19
# Levels go from where the noise is far below any structure to where it drowns all.
_BELOW, _ABOVE = 7.0, 5.0


@dataclass(frozen=True)
class ErrorCurve:
    """Mean squared error of denoisers that need no training, per value of a sample.

    Attributes:
        sigma: noise levels, increasing, ``(K,)``.
        scalar: error of D = mean + v / (v + sigma^2) (x - mean), v the variance about the mean sample: what the skip
            connection of a preconditioned network does by itself (Karras et al. 2022, Table 1).
        linear: error of the Wiener filter, the best denoiser that treats every frequency alone.
        posterior: error of the posterior mean (Karras et al. 2022, Eq. 57) of some samples on others.
        chance: a gain below this is no gain: three times the relative standard error of a mean square, if values
            are independent, and at least a percent.
    """

    sigma: Array
    scalar: Array
    linear: Array
    posterior: Array
    chance: float = 0.01

    @property
    def gain(self) -> Array:
        """Share of the scalar denoiser's error that the better of the other two removes, 0 to 1, ``(K,)``.

        It vanishes at low noise, where noise is all there is to see, and at high noise, where nothing is left of the
        data but their mean. Between the two lies what a network can learn.
        """
        return np.clip(1 - np.minimum(self.linear, self.posterior) / self.scalar, 0, 1)

    def gain_moments(self) -> tuple[float, float] | None:
        """Mean and standard deviation of ln(sigma), weighted by the gain; None if there is no gain."""
        weights = self.gain
        if weights.max() < self.chance:
            return None
        logs = np.log(self.sigma)
        mean = float(np.average(logs, weights=weights))
        return mean, float(np.sqrt(np.average((logs - mean) ** 2, weights=weights)))


def error_curve(samples: Tensor, generator: torch.Generator) -> ErrorCurve:
    """Measure the curve: a quarter of the samples, 256 at most, are denoised with what the others tell.

    Args:
        samples: float32 ``(N, C, *spatial)``; equal ones count once. Of fewer than three, none could be held out from
            others that show how samples vary: the curve is then of the linear denoiser about the channels' means.
        generator: for the choice of samples and for the noise.

    Raises:
        ValueError: all values of each channel are the same.
    """
    samples = torch.unique(samples, dim=0)
    if len(samples) < 3:
        centred = samples - samples.mean((0, *range(2, samples.ndim)), keepdim=True)
        variances = power(centred, channel_basis(centred))
        if not variances.any():
            raise ValueError("every channel of the samples has one value everywhere: there is nothing to learn")
        return linear_error_curve(variances)
    samples = samples[torch.randperm(len(samples), generator=generator)]
    count = min(_HELD_OUT, max(1, len(samples) // 4))
    held_out, known = samples[:count], samples[count:]
    mean = known.mean(0)
    basis = channel_basis(known - mean)
    variances = power(known - mean, basis)
    sigma = levels(variances)
    posterior, noise = DataPosterior(known), torch.randn(held_out.shape, generator=generator)
    errors = [(posterior(held_out + level * noise, level) - held_out).square().double().mean() for level in sigma]
    chance = max(0.01, 3 * math.sqrt(2 / held_out.numel()))
    return _curve(sigma, variances, power(held_out - mean, basis), torch.stack(errors).numpy(), chance)


def linear_error_curve(variances: Array) -> ErrorCurve:
    """The curve of Gaussian data, for which the linear denoiser is the best there is: from the variances alone."""
    sigma = levels(variances)
    return _curve(sigma, variances, variances, np.full(len(sigma), math.inf))


def frequency_variances(samples: Tensor) -> Array:
    """Variance of each coefficient about the mean sample, in a basis that makes images nearly uncorrelated.

    The basis is the principal components of the channels and the cosine transform over space.

    Args:
        samples: ``(N, C, *spatial)``.

    Returns:
        ``(C, *spatial)``; their mean is the variance per value.
    """
    centred = samples - samples.mean(0)
    return power(centred, channel_basis(centred))


def levels(variances: Array, count: int = _LEVELS) -> Array:
    """Noise levels ``(count,)``, increasing: from far below any structure of such variances to where it drowns."""
    middle = 0.5 * math.log(variances.mean())
    return np.exp(np.linspace(middle - _BELOW, middle + _ABOVE, count))


def channel_basis(centred: Tensor) -> Array:
    """Principal components of the channels as columns, ``(C, C)``, of centred samples ``(N, C, *spatial)``."""
    channels = centred.shape[1]
    covariance = torch.zeros(channels, channels, dtype=torch.float64)
    for piece in torch.split(centred, _at_once(centred)):
        flat = piece.transpose(0, 1).flatten(1).double()
        covariance += flat @ flat.T
    return np.asarray(torch.linalg.eigh(covariance)[1].numpy(), dtype=np.float64)


def power(centred: Tensor, basis: Array) -> Array:
    """Mean square of each coefficient, ``(C, *spatial)``."""
    total = np.zeros(tuple(centred.shape[1:]))
    for piece in torch.split(centred, _at_once(centred)):
        total += np.square(to_frequencies(piece.numpy(), basis)).sum(0)
    return total / len(centred)


def _at_once(samples: Tensor) -> int:
    """As many samples as the work in float64 takes some ten MB for."""
    return max(1, _VALUES_AT_ONCE // math.prod(samples.shape[1:]))


def to_frequencies(centred: npt.NDArray[Any], basis: Array) -> Array:
    """Coefficients ``(N, C, *spatial)`` of samples of that shape: cosine transforms of the rotated channels."""
    rotated = np.einsum("nc...,cd->nd...", centred.astype(np.float64), basis)
    if rotated.ndim > 2:
        rotated = scipy.fft.dctn(rotated, axes=range(2, rotated.ndim), norm="ortho")
    return np.asarray(rotated, dtype=np.float64)


def from_frequencies(coefficients: Array, basis: Array) -> Array:
    """The inverse of :func:`to_frequencies`."""
    if coefficients.ndim > 2:
        coefficients = scipy.fft.idctn(coefficients, axes=range(2, coefficients.ndim), norm="ortho")
    return np.asarray(np.einsum("nd...,cd->nc...", coefficients, basis), dtype=np.float64)


def _curve(sigma: Array, variances: Array, power: Array, posterior: Array, chance: float = 0.01) -> ErrorCurve:
    """Errors of filters made for ``variances`` on data whose coefficients have mean square ``power``."""
    noise = sigma[:, None] ** 2

    def error(variance: Array) -> Array:
        keep = variance / (variance + noise)
        return np.asarray(((1 - keep) ** 2 * power.ravel() + keep**2 * noise).mean(1))

    return ErrorCurve(sigma, error(variances.mean().reshape(1)), error(variances.ravel()), posterior, chance)


@dataclass(frozen=True)
class Wiener:
    """The Wiener filter: D = m + sum_k v_k / (v_k + sigma^2) <x - m, e_k> e_k.

    The e_k are the cosine transform over space of the principal components of the channels, v_k the variances of
    the data's coefficients about m, their mean. For Gaussian data with such a covariance it is the ideal denoiser
    (Karras et al. 2022, Eq. 2), whose error per value is the mean of v_k sigma^2 / (v_k + sigma^2).

    With class labels m is the mean of the class, and the variances are those within classes.

    Attributes:
        means: of each class, ``(label_dim, C, *spatial)``; without labels one, of all.
        basis: principal components of the channels as columns, ``(C, C)``.
        variances: v, ``(C, *spatial)``.
    """

    means: Tensor
    basis: Array
    variances: Array

    @classmethod
    def fit(cls, samples: Tensor, classes: Tensor | None = None, label_dim: int = 1) -> Wiener:
        """The filter for data of which ``samples``, float32 ``(N, C, *spatial)``, are examples.

        Args:
            samples: the examples.
            classes: the class of each, int64 ``(N,)``, or None.
            label_dim: number of classes.
        """
        places = torch.zeros(len(samples), dtype=torch.int64) if classes is None else classes
        sums = samples.new_zeros(label_dim, *samples.shape[1:]).index_add_(0, places, samples)
        counts = places.bincount(minlength=label_dim).clamp_min(1)
        means = sums / counts.reshape(-1, *[1] * (samples.ndim - 1))
        centred = samples - means[places]
        basis = channel_basis(centred)
        return cls(means, basis, power(centred, basis))

    def __call__(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """D(x; sigma).

        Args:
            x: noisy samples ``(B, C, *spatial)``.
            sigma: noise level, one for all.
            labels: rows ``(B, label_dim)``, one-hot, or None if the filter has but one mean.
        """
        mean = self.means if labels is None else torch.einsum("bk,k...->b...", labels.cpu(), self.means)
        coefficients = to_frequencies((x.cpu() - mean).numpy(), self.basis)
        kept = coefficients * (self.variances / (self.variances + float(sigma) ** 2))
        return (mean + torch.from_numpy(from_frequencies(kept, self.basis))).to(x)
