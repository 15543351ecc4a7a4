"""How well the data can be denoised at each noise level, and so where there is something to learn."""

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
        samples: float32 ``(N, C, *spatial)`` with N at least 2; equal ones count once.
        generator: for the choice of samples and for the noise.
    """
    samples = torch.unique(samples, dim=0)
    samples = samples[torch.randperm(len(samples), generator=generator)]
    count = min(_HELD_OUT, max(1, len(samples) // 4))
    held_out, known = samples[:count], samples[count:] if len(samples) > 1 else samples
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


def natural_variances() -> Array:
    """Variances of a model of small natural images like CIFAR-10's: 32 x 32 RGB, sigma_data 0.5.

    Power falls with the square of the frequency (Field 1987); the three uncorrelated colour channels, brightness
    first, have 93%, 5.5% and 1.5% of the variance, as natural images have about.
    """
    frequency = np.arange(32)
    squared = frequency[:, None] ** 2.0 + frequency[None] ** 2.0
    squared[0, 0] = 1
    variances = np.array([0.93, 0.055, 0.015])[:, None, None] / squared
    return np.asarray(variances * 0.25 / variances.mean(), dtype=np.float64)


def levels(variances: Array, count: int = _LEVELS) -> Array:
    """Noise levels ``(count,)``, increasing: from far below any structure of such variances to where it drowns."""
    middle = 0.5 * math.log(variances.mean())
    return np.exp(np.linspace(middle - _BELOW, middle + _ABOVE, count))


def channel_basis(centred: Tensor) -> Array:
    """Principal components of the channels as columns, ``(C, C)``, of centred samples ``(N, C, *spatial)``."""
    flat = centred.flatten(2) if centred.ndim > 2 else centred[..., None]
    covariance = torch.einsum("ncx,ndx->cd", flat, flat)
    return np.asarray(torch.linalg.eigh(covariance.double())[1].numpy(), dtype=np.float64)


def power(centred: Tensor, basis: Array) -> Array:
    """Mean square of each coefficient, ``(C, *spatial)``."""
    return np.asarray(np.mean(to_frequencies(centred.numpy(), basis) ** 2, axis=0), dtype=np.float64)


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
