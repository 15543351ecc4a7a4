from __future__ import annotations

from typing import Any

import pytest

from elucidiff import networks
from elucidiff.data import scaling_of
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning
from elucidiff.sampling.grid import makes_pictures


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
    assert "[-1, 1]" in scaling_of(model(1, 4, dtype="uint8")).inverse
    assert scaling_of(model(1, 4, dtype="uint8")).units == "8-bit levels"
    assert scaling_of(model(1, 4, dtype="float64")).units == "in the units of the training data"
