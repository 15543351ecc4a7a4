"""The Frechet distance between two Gaussians, the number behind FID."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


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

    Source: Dowson and Landau 1982; Heusel et al. 2017 (arXiv 1706.08500), Eq. 6.
    """
    means = [np.asarray(mu, dtype=np.float64) for mu in (mu1, mu2)]
    covariances = [np.asarray(sigma, dtype=np.float64) for sigma in (sigma1, sigma2)]
    d = means[0].size
    for name, array, shape in (
        ("mu1", means[0], (d,)),
        ("mu2", means[1], (d,)),
        ("sigma1", covariances[0], (d, d)),
        ("sigma2", covariances[1], (d, d)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; {shape} is needed to match mu1")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite")
    product = _root(covariances[0]) @ _root(covariances[1])
    cross = np.linalg.svd(product, compute_uv=False).sum()
    return float(
        np.square(means[0] - means[1]).sum() + np.trace(covariances[0]) + np.trace(covariances[1]) - 2.0 * cross
    )


def moments(features: npt.ArrayLike) -> tuple[Array, Array]:
    """Mean ``(D,)`` and unbiased covariance ``(D, D)`` (divisor n - 1) of ``features`` ``(n, D)``, in float64."""
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"features of shape (n, D) with n >= 2 are needed, not {values.shape}")
    return values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))


def _root(covariance: Array) -> Array:
    """Symmetric square root; eigenvalues that rounding made negative count as 0."""
    values, vectors = np.linalg.eigh(covariance)
    root: Array = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    return root
