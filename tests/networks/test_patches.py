"""Patches of pixels as the positions of a network."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import elucidiff as ed
from elucidiff.networks.patches import in_patches, in_pixels
from elucidiff.training.planning.timing import networks_for, patch_side_of


def test_in_two_dimensions_they_are_pytorchs() -> None:
    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(in_patches(x, 2), F.pixel_unshuffle(x, 2))
    assert torch.equal(in_pixels(in_patches(x, 4), 4), x)
    assert torch.equal(in_pixels(F.pixel_unshuffle(x, 2), 2), x)


@pytest.mark.parametrize("sides", [(8,), (4, 6, 8)])
def test_there_and_back_in_other_dimensions(sides: tuple[int, ...]) -> None:
    x = torch.arange(2.0 * 3 * torch.Size(sides).numel()).reshape(2, 3, *sides)
    patches = in_patches(x, 2)
    assert patches.shape == (2, 3 * 2 ** len(sides), *(side // 2 for side in sides))
    assert patches[0, :2, *(0,) * len(sides)].tolist() == [0.0, 1.0]
    assert torch.equal(in_pixels(patches, 2), x)


@pytest.mark.parametrize("name", ["mp_unet", "ddpmpp", "ncsnpp", "adm", "edm2"])
def test_a_network_of_patches_is_that_of_their_values(name: str) -> None:
    """With the same weights it computes what the network for (16, 4, 4) makes of pixel_unshuffle's values."""
    settings = f"{name}:base_channels=32,channel_multipliers=1/2,blocks_per_level=1,attention_resolutions=2,dropout=0"
    torch.manual_seed(0)
    whole = ed.parts.parse("network", f"{settings},patch_side=2").build((4, 8, 8), label_dim=3).eval()
    values = ed.parts.parse("network", settings).build((16, 4, 4), label_dim=3).eval()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    values.load_state_dict(whole.state_dict())
    x, labels = torch.randn(2, 4, 8, 8), torch.eye(3)[:2]
    ours = whole(x, torch.tensor([0.1, -1.0]), labels)
    expected = F.pixel_shuffle(values(F.pixel_unshuffle(x, 2), torch.tensor([0.1, -1.0]), labels), 2)
    assert ours.abs().max() > 1e-3
    assert torch.equal(ours, expected)
    assert whole.downsampling == 4
    with pytest.raises(ValueError, match="2 levels of patches of side 2: pad or crop every side to a multiple of 4"):
        whole(torch.zeros(1, 4, 6, 6), torch.zeros(1))


def test_fields_are_put_in_patches_beside_the_sample() -> None:
    network = ed.networks.MPUNet(
        (1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1, condition_channels=2, patch_side=2
    )
    assert network.stem.weight.shape[1] == 4 * (1 + 2) + 1
    assert network(torch.zeros(2, 1, 8, 8), torch.zeros(1), {"field": torch.zeros(2, 2, 4, 4)}).shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("shape", "side"),
    [((3, 32, 32), 1), ((4, 64, 64), 2), ((3, 128, 256), 4), ((1, 256, 62), 1), ((1, 1000), 1), ((1, 64, 64, 64), 2)],
)
def test_a_plan_leaves_32_positions_along_a_side(shape: tuple[int, ...], side: int) -> None:
    assert patch_side_of(shape) == side
    network = next(networks_for(shape))
    assert network.patch_side == side
    assert network.base_channels >= min(64, shape[0] * side ** (len(shape) - 1))
