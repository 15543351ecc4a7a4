"""Averages of any width, chosen after the training: Karras et al. 2024 (arXiv 2312.02696), Sec. 3.

The power-function average of weights theta at time t (any unit; here images) is

    average_gamma(t) = integral_0^t tau^gamma theta(tau) dtau / integral_0^t tau^gamma dtau.

Its profile p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1) keeps its shape relative to t, so its width is stated as
sigma_rel, the standard deviation of p over t. From snapshots of averages of two widths, taken along the way, any
other average is approximated by the combination whose profile comes closest in least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def gamma_of_width(sigma_rel: float) -> float:
    """The exponent gamma of the profile with relative width ``sigma_rel``, in (0, 0.28).

    Inverts ``sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3))``, the variance of the Beta(gamma + 1, 1)
    distribution: the largest real root of a cubic.

    Raises:
        ValueError: no profile is that wide.
    """
    if not 0 < sigma_rel < 12**-0.5:
        raise ValueError(f"the width of an average is {sigma_rel}, but must be in (0, 0.288): 0.05 to 0.15 is usual")
    inverse = sigma_rel**-2
    roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])
    return float(roots.real[np.abs(roots.imag) < 1e-9 * np.abs(roots)].max())


@dataclass(frozen=True)
class PowerFunction:
    """The power-function average of relative width ``sigma_rel``, to be updated a step at a time."""

    sigma_rel: float

    def beta(self, images_seen: int, batch_size: int) -> float:
        """``(1 - batch / t)^(gamma + 1)``, where t counts this batch too: how little of the integral is older."""
        return float((images_seen / (images_seen + batch_size)) ** (gamma_of_width(self.sigma_rel) + 1))


@dataclass(frozen=True)
class Profile:
    """What an average remembers: its width ``sigma_rel`` and the time ``images_seen`` at which it was taken."""

    sigma_rel: float
    images_seen: int


def combination(snapshots: Sequence[Profile], wanted: Profile) -> NDArray[np.float64]:
    """Weights of the snapshots in the combination that comes closest to ``wanted``.

    The least-squares solution of ``sum_i w_i p_i = p``: the matrix and the right-hand side hold inner products of
    profiles, which have a closed form.

    Args:
        snapshots: averages that were kept, of two or more widths.
        wanted: the average that is wanted; any width, and a time not past the last snapshot.

    Returns:
        The weights, float64 ``(len(snapshots),)``.

    Raises:
        ValueError: there are no snapshots, or the wanted time is past them.
    """
    if not snapshots or wanted.images_seen > max(snapshot.images_seen for snapshot in snapshots):
        raise ValueError(f"no snapshot was taken as late as {wanted.images_seen} images")
    gram = np.array([[_inner(one, other) for other in snapshots] for one in snapshots])
    target = np.array([_inner(one, wanted) for one in snapshots])
    weights: NDArray[np.float64] = np.linalg.lstsq(gram, target, rcond=None)[0]
    return weights


def _inner(one: Profile, other: Profile) -> float:
    """The integral over time of the product of two profiles, in 1 / images."""
    a, b = gamma_of_width(one.sigma_rel), gamma_of_width(other.sigma_rel)
    first, last = sorted((one.images_seen, other.images_seen))
    exponent = b if one.images_seen <= other.images_seen else a  # of the later one: its part up to the earlier end
    return float((a + 1) * (b + 1) / (a + b + 1) * (first / last) ** exponent / last)
