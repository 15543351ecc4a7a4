"""In which units a model's samples are, as far as its facts tell."""

from __future__ import annotations

from typing import Any

from elucidiff.data.scaling import is_picture
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.sampling.ranges import range_for


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
