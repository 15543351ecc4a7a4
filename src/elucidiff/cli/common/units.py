"""In which units a model's samples are, as far as its facts tell."""

from __future__ import annotations

from typing import Any

from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.figures.style import is_picture
from elucidiff.sampling.ranges import range_for, suits
from elucidiff.sampling.sampler import Sampler


def makes_pictures(denoiser: Denoiser) -> bool:
    """Whether samples are pictures in [-1, 1].

    Those of a model of floating-point data are not, whatever their shape: they are in units of the data's own.
    """
    return is_picture(denoiser.sample_shape) and of_8_bits(denoiser)


def units(denoiser: Denoiser) -> str:
    """What the values of a sample mean."""
    if of_8_bits(denoiser):
        return "in [-1, 1]: 127.5 x + 127.5 brings them back to 0..255"
    return "in the units of the training data"


def range_advice(sampler: Sampler, denoiser: Denoiser) -> str | None:
    """A warning if the noise levels do not go from well above the spread of the training data to well below it."""
    spread = _data_facts(denoiser).get("sigma_data")
    if not isinstance(spread, float) or not 0 < spread < float("inf"):
        return None
    sigmas = sampler.sigmas(denoiser)
    if suits(sigmas, spread):
        return None
    high, low = float(sigmas[0]), float(sigmas[-2])
    least, most = range_for(spread)
    return (
        f"warning: sigma goes from {high:g} to {low:g}, but the training data have a standard deviation of "
        f"{spread:.3g}: the paper's range in their units is --steps "
        f"karras:sigma_min={_rounded(least)},sigma_max={_rounded(most)}"
    )


def _rounded(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


def range_of(denoiser: Denoiser) -> tuple[float, float]:
    """sigma_min and sigma_max in which to follow the ODE both ways: the paper's, in units of the model's data."""
    spread = _data_facts(denoiser).get("sigma_data")
    if of_8_bits(denoiser) or not isinstance(spread, float) or not 0 < spread < float("inf"):
        return range_for(0.5)
    return range_for(spread)


def of_8_bits(denoiser: Denoiser) -> bool:
    """Whether the model was trained on 8-bit data, so that its samples are in [-1, 1]."""
    # Models from elsewhere do not say; nearly all are of pictures.
    return bool(_data_facts(denoiser).get("dtype", "uint8") == "uint8")


def _data_facts(denoiser: Denoiser) -> dict[str, Any]:
    facts = denoiser.facts.get("data")
    return facts if isinstance(facts, dict) else {}
