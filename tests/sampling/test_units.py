from __future__ import annotations

from typing import Any

import pytest

from elucidiff import networks
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning
from elucidiff.sampling import Sampler
from elucidiff.sampling.units import makes_pictures, range_advice, units


def model(*shape: int, **facts: Any) -> Denoiser:
    network = networks.UNet(shape, base_channels=4, channel_multipliers=(1,), blocks_per_level=0)
    denoiser = Denoiser(network, preconditioning.EDM())
    denoiser.facts["data"] = facts
    return denoiser


@pytest.mark.parametrize(
    ("shape", "facts", "pictures"),
    [
        ((1, 4, 4), {}, True),
        ((3, 4, 4), {"dtype": "uint8"}, True),
        ((3, 4, 4), {"dtype": "float32"}, False),  # in units of the data's own
        ((2, 4, 4), {"dtype": "uint8"}, False),
        ((1, 4), {"dtype": "uint8"}, False),
        ((1, 4, 4, 4), {}, False),
    ],
)
def test_pictures_are_8_bit_planes(shape: tuple[int, ...], facts: dict[str, Any], pictures: bool) -> None:
    assert makes_pictures(model(*shape, **facts)) is pictures


def test_units_are_named() -> None:
    assert "[-1, 1]" in units(model(1, 4, dtype="uint8"))
    assert units(model(1, 4, dtype="float64")) == "in the units of the training data"


@pytest.mark.parametrize(
    ("spread", "sampler", "warns"),
    [
        (0.5, Sampler(), False),
        (8.0, Sampler(), False),
        (8.1, Sampler(), True),  # 80 is less than 10 standard deviations
        (0.041, Sampler(), False),
        (0.039, Sampler(), True),  # 0.002 is more than a 20th of one
        (100.0, Sampler(steps="karras:sigma_min=0.4,sigma_max=16000"), False),
        (float("nan"), Sampler(), False),
        (None, Sampler(), False),
    ],
)
def test_noise_levels_of_another_order_than_the_data_are_warned_of(
    spread: float | None, sampler: Sampler, warns: bool
) -> None:
    assert (range_advice(sampler, model(1, 4, sigma_data=spread)) is not None) is warns


def test_the_advice_is_the_papers_range_in_the_units_of_the_data() -> None:
    advice = range_advice(Sampler(), model(1, 4, sigma_data=100.0))
    assert advice is not None
    assert "--steps karras:sigma_min=0.4,sigma_max=16000" in advice
    assert (
        range_advice(Sampler(steps="karras:sigma_min=0.4,sigma_max=16000.0"), model(1, 4, sigma_data=100.0)) is None
    )
