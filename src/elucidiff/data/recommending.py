"""Settings for a data set, derived from what was measured of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from elucidiff.data.spectrum import Array, ErrorCurve, linear_error_curve, natural_variances

# The paper's settings for CIFAR-10 (Karras et al. 2022, Table 1), which such data get recommended.
_SIGMA_DATA, _SIGMA_MIN, _SIGMA_MAX, _P_MEAN, _P_STD = 0.5, 0.002, 80.0, -1.2, 1.2
_VALUES = 3 * 32 * 32
# A p_train narrower than this would starve levels that sampling visits, whatever the gain says.
NARROWEST, WIDEST = 0.8, 1.8
_LARGEST_SIDE = 64
# Channels whose spreads differ by more than this factor want scaling.
_UNEVEN = 3.0
_SHARE_ENLARGED = 0.05


@dataclass(frozen=True)
class Recommendation:
    """A value for a setting, and why."""

    setting: str
    value: float
    reason: str


def recommend_sigma_data(sigma_data: float, mean: float, channel_sigmas: Sequence[float]) -> Recommendation:
    """The standard deviation of the data, from which Karras et al. 2022 derive the preconditioning (Table 1).

    Args:
        sigma_data: standard deviation of all values about their mean.
        mean: of all values.
        channel_sigmas: the standard deviation of each channel about its own mean.
    """
    reason = "the standard deviation of all values: it gives the network's inputs and targets unit variance"
    if abs(mean) > sigma_data / 2:
        reason += f"; the mean, {mean:.2g}, is far from 0, which the preconditioning takes no account of"
    narrowest, widest = min(channel_sigmas), max(channel_sigmas)
    if narrowest == 0:
        reason += "; a channel has the same value everywhere: leave it out"
    elif widest > _UNEVEN * narrowest:
        reason += (
            f"; the channels have {narrowest:.2g} to {widest:.2g}, and one value cannot suit them all: divide each"
            " by its own"
        )
    return Recommendation("sigma_data", _rounded(sigma_data), reason)


def recommend_sigma_min(sigma_data: float, is_8_bit: bool) -> Recommendation:
    """Noise that is too weak to be seen."""
    if is_8_bit:
        reason = "the paper's: just below the noise of rounding to 8 bits, (2 / 255) / sqrt(12) = 0.0023"
        return Recommendation("sigma_min", _SIGMA_MIN, reason)
    share = _SIGMA_MIN / _SIGMA_DATA
    return Recommendation("sigma_min", _rounded(share * sigma_data), f"{share:g} of sigma_data, as in the paper")


def recommend_sigma_max(norm: float, largest_distance: float) -> Recommendation:
    """Noise that drowns the data.

    Sampling starts from N(0, sigma_max^2 I) instead of the data plus that noise. By the convexity of the
    Kullback-Leibler divergence the two are at most E|y|^2 / (2 sigma_max^2) nats apart, 0.06 for CIFAR-10 and 80.

    Args:
        norm: root of the mean square of |y|.
        largest_distance: between two samples.
    """
    ratio = _SIGMA_MAX / (_SIGMA_DATA * math.sqrt(_VALUES))
    if ratio * norm < largest_distance:
        reason = "the largest distance between two samples, so that noise hides which of them it was"
        return Recommendation("sigma_max", _rounded(largest_distance), reason)
    nats = 1 / (2 * ratio**2)
    reason = (
        f"{ratio:.2g} times the data's root mean square norm: the noise that sampling starts from is then at most"
    )
    return Recommendation("sigma_max", _rounded(ratio * norm), f"{reason} {nats:.2f} nats off, as for CIFAR-10 at 80")


def recommend_training_noise(curve: ErrorCurve, sigma_data: float) -> tuple[Recommendation, Recommendation]:
    """p_train: where there is something to learn.

    The paper found P_mean = -1.2 and P_std = 1.2 by experiment, for images like CIFAR-10's. The gain of
    :class:`~elucidiff.data.spectrum.ErrorCurve` tells by how much the noise levels at which denoising takes knowledge
    of the data lie higher or lower, and spread more or less, than for a model of such images. P_mean and P_std move
    along, so multiplying the data by a factor a adds ln(a) to P_mean. That is a rule from theory, not from training
    runs.
    """
    moments, natural = curve.gain_moments(), linear_error_curve(natural_variances()).gain_moments()
    if moments is None or natural is None:
        reason = "the values are as good as independent, so the paper's settings are only scaled to sigma_data"
        scaled = _P_MEAN + math.log(sigma_data / _SIGMA_DATA)
        return Recommendation("p_mean", _rounded(scaled, 3), reason), Recommendation("p_std", _P_STD, reason)
    moved, widened = moments[0] - natural[0], moments[1] / natural[1]
    low, high = math.exp(moments[0] - moments[1]), math.exp(moments[0] + moments[1])
    helps = f"knowledge of the data helps most at sigma {low:.2g} to {high:.2g}"
    direction = "above" if moved > 0 else "below"
    return (
        Recommendation(
            "p_mean",
            _rounded(_P_MEAN + moved, 3),
            f"{helps}, {abs(moved):.2f} {direction} (in ln sigma) where it does for images like CIFAR-10's",
        ),
        Recommendation(
            "p_std",
            _rounded(min(max(_P_STD * widened, NARROWEST), WIDEST)),
            f"{helps}, {widened:.2f} times the width for images like CIFAR-10's",
        ),
    )


def recommend_resolution(sizes: Mapping[tuple[int, ...], int], variances: Array | None) -> Recommendation | None:
    """The side of square training images.

    Args:
        sizes: how many images there are of each shape ``(C, H, W)``.
        variances: of the cosine coefficients ``(C, H, W)`` of 8-bit images, where they were measured.

    Returns:
        the recommendation, or None for data that are not images.
    """
    if any(len(shape) != 3 for shape in sizes):
        return None
    sides = np.repeat([min(shape[1:]) for shape in sizes], list(sizes.values()))
    side = int(np.quantile(sides, _SHARE_ENLARGED, method="lower"))
    detail = side if variances is None else _side_with_detail(variances)
    if side > _LARGEST_SIDE:
        reason = "the largest in the paper; the cost of training grows with the square of the side"
        return Recommendation("resolution", _LARGEST_SIDE, reason)
    if detail < side:
        reason = f"what a side of {side} adds is weaker than one of 256 levels"
        return Recommendation("resolution", detail, reason)
    if side < 8:
        return Recommendation("resolution", 8, f"a side of {side} is less than the networks are made for")
    if side % 4 == 0 and len(sizes) == 1:
        return Recommendation("resolution", side, "that of the images")
    reason = "the largest multiple of 4, since networks halve it twice, that enlarges at most one image in 20"
    return Recommendation("resolution", side // 4 * 4, reason)


def _side_with_detail(variances: Array) -> int:
    """Halve the side while the frequencies that this drops are weaker than one level of 8-bit images."""
    level = 2 / 255
    height, width = variances.shape[1:]
    while height == width and height % 8 == 0 and height > 8:
        beyond = np.ones((height, width), bool)
        beyond[: height // 2, : width // 2] = False
        if variances[:, :height, :width][:, beyond].mean() > level**2:
            break
        height, width = height // 2, width // 2
    return int(min(height, width))


def _rounded(value: float, digits: int = 2) -> float:
    return float(f"{value:.{digits}g}")
