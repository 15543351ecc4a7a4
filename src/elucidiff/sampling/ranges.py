"""Ranges of noise levels, and whether they suit the data."""

from __future__ import annotations

import warnings

from torch import Tensor

from elucidiff.denoisers.base import AnyDenoiser


def range_for(sigma_data: float) -> tuple[float, float]:
    """The paper's range of noise levels, sigma_min and sigma_max, in units of data with this standard deviation.

    Karras et al. 2022 sample from 80 down to 0.002 for sigma_data = 0.5 (Table 1).
    """
    units = sigma_data / 0.5
    return 0.002 * units, 80 * units


def range_advice(sigmas: Tensor, denoiser: AnyDenoiser) -> str | None:
    """What to say if the noise levels do not go from well above the standard deviation of the data to well below it.

    Args:
        sigmas: noise levels (N + 1,), the last 0.
        denoiser: D.
    """
    std = denoiser.data_std
    if std is None:
        return None
    if suits(sigmas, std):
        return None
    high, low = float(sigmas[0]), float(sigmas[-2])
    least, most = range_for(std)
    return (
        f"sigma goes from {high:g} to {low:g}, but the training data have a standard deviation of {std:.3g}: "
        f"the paper's range in their units is sigma_max = {_rounded(most)}, sigma_min = {_rounded(least)}"
    )


def suits(sigmas: Tensor, std: float) -> bool:
    """Whether the noise levels go from well above the standard deviation of the data to well below it."""
    return float(sigmas[0]) >= 10 * std and float(sigmas[-2]) <= std / 20


def warn_of_range(sigmas: Tensor, denoiser: AnyDenoiser, frames: int = 1) -> None:
    """Warn if :func:`range_advice` has something to say. The command line, which says it itself, filters this.

    Args:
        sigmas: noise levels (N + 1,), the last 0.
        denoiser: D.
        frames: how many of the function that the user called lie between this one and the user.
    """
    if (advice := range_advice(sigmas, denoiser)) is not None:
        warnings.warn(advice, stacklevel=2 + frames)


def _rounded(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"
