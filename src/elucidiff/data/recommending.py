"""Settings for a data set, derived from what was measured of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elucidiff.data.moments import Moments
from elucidiff.data.spectrum import Array, ErrorCurve

# The paper's settings for CIFAR-10 (Karras et al. 2022, Table 1), which such data get recommended.
_SIGMA_DATA, _SIGMA_MIN, _SIGMA_MAX, _P_MEAN, _P_STD = 0.5, 0.002, 80.0, -1.2, 1.2
_VALUES = 3 * 32 * 32
# The gain on CIFAR-10, where the paper's search found P_mean and P_std: its largest value, and its width in
# ln(sigma), measured of the set in its JPEG form. Its centre is P_mean as it is: -1.18 to -1.26 in samples of 2048.
_GAIN, _WIDTH = 0.83, 2.19
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


def recommend_sigma_data(moments: Moments, is_8_bit: bool) -> Recommendation:
    """The standard deviation of the data, from which Karras et al. 2022 derive the preconditioning (Table 1).

    Args:
        moments: of all values; see :attr:`~elucidiff.data.moments.Moments.sigma_data`.
        is_8_bit: whether the images are stored as such.
    """
    sigma_data, mean, stds = moments.sigma_data, moments.mean, moments.channel_stds
    reason = (
        "the standard deviation about each channel's mean: it gives the network's inputs and targets unit variance"
    )
    if not is_8_bit and moments.looks_8_bit:
        reason += (
            f"; values from {moments.lowest:g} to {moments.highest:g} are those of 8-bit pictures: save them as uint8"
        )
    if abs(mean) > sigma_data / 2:
        reason += f"; the mean, {mean:.2g}, is far from 0, which the preconditioning takes no account of"
        if not is_8_bit:
            reason += ": subtract it"
    narrowest, widest = (float(each) for each in stds.aminmax())
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


def recommend_sigma_max(norm: float, far: float) -> Recommendation:
    """Noise that drowns the data.

    Sampling starts from N(0, sigma_max^2 I) instead of the data plus that noise. By the convexity of the
    Kullback-Leibler divergence the two are, but for the mean m, at most E|y - m|^2 / (2 sigma_max^2) nats apart, 0.06
    for CIFAR-10 and 80. What is to be done about a mean far from 0 is to subtract it, not to raise sigma_max.

    Args:
        norm: root of the mean square of |y - m|.
        far: distance that hardly any two samples exceed.
    """
    ratio = _SIGMA_MAX / (_SIGMA_DATA * math.sqrt(_VALUES))
    if ratio * norm < far:
        reason = (
            "the largest distance between two samples, outliers left out, so that noise hides which of them it was"
        )
        return Recommendation("sigma_max", _rounded(far), reason)
    nats = 1 / (2 * ratio**2)
    reason = (
        f"{ratio:.2g} times the data's root mean square norm: the noise that sampling starts from is then at most"
    )
    return Recommendation("sigma_max", _rounded(ratio * norm), f"{reason} {nats:.2f} nats off, as for CIFAR-10 at 80")


def recommend_training_noise(curve: ErrorCurve, sigma_data: float) -> tuple[Recommendation, Recommendation]:
    """p_train: where there is something to learn.

    A new network with the paper's preconditioning answers with its skip connection, D = c_skip x, at every noise
    level: the scalar denoiser. Training can lower the loss only by what a better denoiser gains on that, which is
    nothing at very low noise and nothing at very high noise; the paper puts P_mean and P_std where its loss fell most
    (Sec. 5 and Fig. 5a). Much of that gain is known without training: the ``ErrorCurve`` has what the data's spectrum
    and the data themselves give. As a distribution over ln(sigma) it has a centre m and a width w, into which
    resolution, correlation length and sigma_data all enter. Then

        P_mean = k m + (1 - k) (-1.2 + ln(sigma_data / 0.5)),    P_std = k w / 1.83 + (1 - k) 1.2

    CIFAR-10, for which the paper found -1.2 and 1.2 by search, has m = -1.2 and w = 2.19 = 1.83 x 1.2: the centre of
    the gain is P_mean as it is, and the one constant says that training pays most in the middle half of the range.
    Data that are close to independent values have little gain to go by: k is the largest gain over that of CIFAR-10,
    0.83, at most 1, and what k lacks of 1 is left to the paper's values, scaled to sigma_data.

    Multiplying the data by a factor a adds ln(a) to P_mean.

    Args:
        curve: of the data.
        sigma_data: standard deviation of the data.
    """
    scaled, moments = _P_MEAN + math.log(sigma_data / _SIGMA_DATA), curve.gain_moments()
    if moments is None:
        reason = "the values are as good as independent, so the paper's settings are only scaled to sigma_data"
        return Recommendation("p_mean", _rounded(scaled, 3), reason), Recommendation("p_std", _P_STD, reason)
    centre, width = moments
    known = min(1.0, float(curve.gain.max()) / _GAIN)
    p_mean = known * centre + (1 - known) * scaled
    p_std = known * _P_STD * width / _WIDTH + (1 - known) * _P_STD
    low, high = math.exp(centre - width), math.exp(centre + width)
    reason = (
        f"what is known without training of such data helps at sigma {low:.2g} to {high:.2g}, by "
        f"{curve.gain.max():.0%} at most"
    )
    paper = "for CIFAR-10 by 83% at 0.034 to 2.7, and the paper found"
    return (
        Recommendation("p_mean", _rounded(p_mean, 3), f"{reason}; {paper} {_P_MEAN}"),
        Recommendation("p_std", _rounded(min(max(p_std, NARROWEST), WIDEST)), f"{reason}; {paper} {_P_STD}"),
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
    sides = np.sort(np.repeat([min(shape[1:]) for shape in sizes], list(sizes.values())))
    # A single image decides nothing where there are others to outvote it.
    side = int(sides[min(max(int(_SHARE_ENLARGED * len(sides)), 1), (len(sides) - 1) // 2)])
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
    reason = "the largest multiple of 4, since networks halve it twice, that enlarges at most one image in 20, or one"
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
