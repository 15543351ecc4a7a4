"""Colour transforms in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from elucidiff.augment import Augment


def random_images(channels: int = 3) -> Tensor:
    return torch.rand(2, channels, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def one(images: Tensor, option: str, w: float) -> Tensor:
    values = torch.full((len(images),), w, dtype=torch.float64)
    return Augment(**{option: 1.0}).apply(images, {option: values})[0]


def luma(images: Tensor) -> Tensor:
    return images.mean(1, keepdim=True)


def test_brightness_and_contrast() -> None:
    images = random_images()
    torch.testing.assert_close(one(images, "brightness", 1.5), images + 0.3)
    torch.testing.assert_close(one(images, "contrast", -1.0), images / math.sqrt(2))


def test_luma_flip_reverses_the_grey_part_and_keeps_the_rest() -> None:
    images = random_images()
    flipped = one(images, "lumaflip", 1)
    torch.testing.assert_close(luma(flipped), -luma(images))
    torch.testing.assert_close(flipped - luma(flipped), images - luma(images))
    torch.testing.assert_close(one(flipped, "lumaflip", 1), images)


def test_hue_keeps_grey_and_a_third_of_a_turn_permutes_the_channels() -> None:
    images = random_images()
    torch.testing.assert_close(luma(one(images, "hue", 0.9)), luma(images))
    torch.testing.assert_close(one(images, "hue", 2 * math.pi / 3), images.roll(1, dims=1))
    torch.testing.assert_close(one(one(images, "hue", 0.9), "hue", -0.9), images)


def test_saturation_scales_the_distance_from_grey() -> None:
    images = random_images()
    result = one(images, "saturation", 1.0)
    torch.testing.assert_close(luma(result), luma(images))
    torch.testing.assert_close(result - luma(result), 2 * (images - luma(images)))


def test_grey_images_are_treated_as_three_equal_channels() -> None:
    grey = random_images(1)
    for option, w in (("brightness", 0.4), ("contrast", 1.2), ("lumaflip", 1), ("hue", 1.0), ("saturation", 0.8)):
        colour = one(grey.expand(-1, 3, -1, -1), option, w)
        torch.testing.assert_close(one(grey, option, w), colour[:, :1])


def test_zero_parameters_keep_every_bit() -> None:
    augment = Augment(brightness=1, contrast=1, lumaflip=1, hue=1, saturation=1)
    for channels in (1, 3):
        images = random_images(channels).float()
        result, labels = augment.apply(images, {option: torch.zeros(2) for option in augment.active})
        assert torch.equal(result, images)
        assert labels.tolist() == [[0.0] * 6] * 2


@pytest.mark.parametrize("option", ["brightness", "contrast", "lumaflip", "hue", "saturation"])
def test_other_channel_counts_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=rf"{option} need grey .* not 4 channels"):
        one(random_images(4), option, 0.0)
