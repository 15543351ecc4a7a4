"""The Frechet distance between two Gaussians, the number behind FID."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_ROWS_AT_ONCE = 1024  # in float64, so that many features in float32 are not all copied


def frechet_distance(mu1: npt.ArrayLike, sigma1: npt.ArrayLike, mu2: npt.ArrayLike, sigma2: npt.ArrayLike) -> float:
    """Squared 2-Wasserstein distance between the Gaussians ``N(mu1, sigma1)`` and ``N(mu2, sigma2)``::

        d^2 = |mu1 - mu2|^2 + tr(sigma1) + tr(sigma2) - 2 tr((sigma1 sigma2)^(1/2))

    The last trace equals the sum of the singular values of ``sigma1^(1/2) sigma2^(1/2)``. Both roots are of symmetric
    positive semi-definite matrices, so rank-deficient covariances (fewer samples than features) need no special care,
    which a matrix square root of the non-symmetric product does.

    Args:
        mu1, mu2: means, ``(D,)``.
        sigma1, sigma2: covariances, ``(D, D)``, symmetric positive semi-definite.

    Returns:
        The distance, in squared units of the features. Equal inputs may give a tiny number of either sign.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Where one of the two is compared with many others, :class:`Gaussian` saves half of the work.

    Source: Dowson and Landau 1982; Heusel et al. 2017 (arXiv 1706.08500), Eq. 6.

    >>> import elucidiff as ed
    >>> import numpy as np
    >>> ed.evaluation.frechet_distance(np.zeros(2), np.eye(2), np.array([3.0, 4.0]), np.eye(2))
    25.0
    """
    return Gaussian.checked(mu1, sigma1, "1").distance(Gaussian.checked(mu2, sigma2, "2"))


def moments(features: npt.ArrayLike) -> tuple[Array, Array]:
    """Mean ``(D,)`` and unbiased covariance ``(D, D)`` (divisor n - 1) of ``features`` ``(n, D)``, in float64.

    >>> import elucidiff as ed
    >>> mean, covariance = ed.evaluation.moments([[0.0, 0.0], [2.0, 4.0]])
    >>> mean.tolist(), covariance.tolist()
    ([1.0, 2.0], [[2.0, 4.0], [4.0, 8.0]])
    """
    values = np.asarray(features)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"features of shape (n, D) with n >= 2 are needed, not {values.shape}")
    mean = values.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((values.shape[1], values.shape[1]))
    for start in range(0, len(values), _ROWS_AT_ONCE):
        centred = values[start : start + _ROWS_AT_ONCE].astype(np.float64) - mean
        scatter += centred.T @ centred
    return mean, scatter / (len(values) - 1)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A mean ``(D,)`` and a covariance ``(D, D)``, whose square root is found once for all distances to it."""

    mean: Array
    covariance: Array

    @classmethod
    def of(cls, features: npt.ArrayLike) -> Gaussian:
        """The one with the :func:`moments` of features ``(n, D)``."""
        return cls(*moments(features))

    @classmethod
    def checked(cls, mean: npt.ArrayLike, covariance: npt.ArrayLike, suffix: str = "") -> Gaussian:
        """The one with this mean and covariance, named ``mu`` and ``sigma`` with a suffix in messages.

        Raises:
            ValueError: shapes that do not fit, or values that are not finite.
        """
        mu, sigma = np.asarray(mean, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
        for name, array, shape in ((f"mu{suffix}", mu, (mu.size,)), (f"sigma{suffix}", sigma, (mu.size, mu.size))):
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}, but {shape} is needed")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds values that are not finite")
        return cls(mu, sigma)

    @cached_property
    def root(self) -> Array:
        """Symmetric square root of the covariance; eigenvalues that rounding made negative count as 0."""
        values, vectors = np.linalg.eigh(self.covariance)
        root: Array = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
        return root

    def distance(self, other: Gaussian) -> float:
        """See :func:`frechet_distance`.

        Raises:
            ValueError: the two differ in dimension.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"Gaussians of {self.mean.size} and {other.mean.size} dimensions cannot be compared")
        cross = np.linalg.svd(self.root @ other.root, compute_uv=False).sum()
        between = np.square(self.mean - other.mean).sum()
        return float(between + np.trace(self.covariance) + np.trace(other.covariance) - 2.0 * cross)
