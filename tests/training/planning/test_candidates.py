"""The networks that come into question have levels and attention that the data have room for."""

from __future__ import annotations

import pytest
import torch

from elucidiff.training.planning.timing import WIDTHS, networks_for


@pytest.mark.parametrize(
    ("shape", "multipliers", "attention"),
    [
        ((1, 28, 28), (1, 2, 4), (7,)),  # the preset fashion-mnist, which was tuned
        ((1, 8, 8), (1, 2), (8, 4)),
        ((3, 32, 32), (1, 2, 4), (8,)),
        ((3, 64, 64), (1, 2, 4), (8,)),  # in patches of 2 x 2
        ((3, 62, 62), (1, 2), (31,)),
        ((4, 48, 32), (1, 2, 4, 4), (6,)),
        ((3, 15, 15), (1,), (15,)),
        ((2, 64), (1, 2, 4, 4), (64, 32, 16, 8)),
        ((1, 1000), (1, 2, 4, 4), (125,)),
        ((1, 16, 16, 16), (1, 2), (8,)),
        ((1, 63, 63), (1,), ()),  # 3,969 positions are too many to attend
        ((1, 2, 64), (1,), (64,)),  # a side of 2 is not halved
    ],
)
def test_levels_and_attention(
    shape: tuple[int, ...], multipliers: tuple[int, ...], attention: tuple[int, ...]
) -> None:
    network = next(networks_for(shape))
    assert network.channel_multipliers == multipliers
    assert network.attention_resolutions == attention


@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (3, 15, 15), (4, 48, 32), (2, 64), (1, 1000), (1, 4, 8, 16), (1, 1, 3)]
)
def test_the_cheapest_is_built_and_computes(shape: tuple[int, ...]) -> None:
    network = next(networks_for(shape)).build(shape, label_dim=3, augment_dim=0)
    with torch.no_grad():
        assert network(torch.zeros(2, *shape), torch.zeros(2), torch.zeros(2, 3)).shape == (2, *shape)


def test_each_is_dearer_than_the_one_before() -> None:
    weights = []
    for network in networks_for((3, 32, 32)):
        with torch.device("meta"):
            weights.append(sum(each.numel() for each in network.build((3, 32, 32)).parameters()))
    assert len(weights) == len(WIDTHS)
    assert weights == sorted(weights)
