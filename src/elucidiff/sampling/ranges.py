"""Ranges of noise levels, whether they suit the data, and the units that the data are in."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor

from elucidiff.data.scaling import is_picture
from elucidiff.denoisers.base import AnyDenoiser
from elucidiff.denoisers.usual import Usual


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
    if denoiser.usual != Usual() and float(sigmas[0]) >= 10 * std:
        return None  # its own time says how low its last step begins
    high, low = float(sigmas[0]), float(sigmas[-2])
    least, most = range_for(std)
    return (
        f"sigma goes from {high:g} to {low:g}, but the training data have a standard deviation of {std:.3g}: "
        f"the paper's range in their units is sigma_max = {_rounded(most)}, sigma_min = {_rounded(least)}"
    )


def suits(sigmas: Tensor, std: float) -> bool:
    """True if the noise levels go from well above the standard deviation of the data to well below it."""
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


def makes_pictures(denoiser: AnyDenoiser) -> bool:
    """True if samples are pictures in [-1, 1].

    Those of a model of floating-point data are not, whatever their shape: they are in units of the data's own.
    """
    return is_picture(denoiser.sample_shape) and of_8_bits(denoiser)


def units(denoiser: AnyDenoiser) -> str:
    """What the values of a sample mean."""
    if of_8_bits(denoiser):
        return "in [-1, 1]: 127.5 x + 127.5 brings them back to 0..255"
    return "in the units of the training data"


def range_of(denoiser: AnyDenoiser) -> tuple[float, float]:
    """sigma_min and sigma_max in which to follow the ODE both ways: the paper's, in units of the model's data."""
    spread = _data_facts(denoiser).get("sigma_data")
    if of_8_bits(denoiser) or not isinstance(spread, float) or not 0 < spread < float("inf"):
        return range_for(0.5)
    return range_for(spread)


def of_8_bits(denoiser: AnyDenoiser) -> bool:
    """True if the model was trained on 8-bit data, so that its samples are in [-1, 1]."""
    # Models from elsewhere do not say; nearly all are of pictures.
    return bool(_data_facts(denoiser).get("dtype", "uint8") == "uint8")


def _data_facts(denoiser: AnyDenoiser) -> dict[str, Any]:
    facts = denoiser.facts.get("data")
    return facts if isinstance(facts, dict) else {}
