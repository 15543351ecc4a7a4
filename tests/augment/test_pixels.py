"""Exact transforms: pixels move, values do not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from elucidiff.augment import Augment
from elucidiff.augment.geometry import reflect


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def apply(images: Tensor, option: str, w: Tensor, **settings: float) -> tuple[Tensor, Tensor]:
    return Augment(**{option: 1.0}, **settings).apply(images, {option: w})


@given(
    option=st.sampled_from(["xflip", "yflip"]),
    n=st.integers(1, 4),
    channels=st.integers(1, 5),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_flips(option: str, n: int, channels: int, height: int, width: int) -> None:
    images = random_images(n, channels, height, width)
    w = torch.arange(n) % 2
    once, labels = apply(images, option, w)
    for k in range(n):
        mirrored = images[k].flip(2 if option == "xflip" else 1) if w[k] else images[k]
        assert torch.equal(once[k], mirrored)
    assert torch.equal(apply(once, option, w)[0], images)
    assert torch.equal(labels, w[:, None].float())


def test_quarter_turns_are_counter_clockwise() -> None:
    images = random_images(4, 2, 5, 5)
    turned, labels = apply(images, "rotate_int", torch.arange(4))
    for k in range(4):
        np.testing.assert_array_equal(turned[k].numpy(), np.rot90(images[k].numpy(), k, axes=(1, 2)))
    assert labels.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]


@given(
    height=st.integers(1, 9), width=st.integers(1, 9), right=st.floats(-1, 1), up=st.floats(-1, 1),
    maximum=st.sampled_from([0.125, 0.5, 1.0, 2.5]),
)  # fmt: skip
def test_integer_shift_against_an_infinite_reflection(
    height: int, width: int, right: float, up: float, maximum: float
) -> None:
    # Which way a tie goes is a matter of the last bit.
    assume(all(abs(abs(way) % 1 - 0.5) > 1e-6 for way in (right * width * maximum, up * height * maximum)))
    images = random_images(1, 3, height, width)
    moved, labels = apply(images, "translate_int", torch.tensor([[right], [up]]).double(), translate_int_max=maximum)
    tx, ty = round(right * width * maximum), round(up * height * maximum)
    reach = 3 * max(height, width) + 3
    endless = np.pad(images[0].numpy(), ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    expected = endless[:, reach + ty : reach + ty + height, reach - tx : reach - tx + width]
    np.testing.assert_array_equal(moved[0].numpy(), expected)
    torch.testing.assert_close(labels, torch.tensor([[tx / (width * maximum), ty / (height * maximum)]]))


def test_reflection_repeats_no_edge_pixel() -> None:
    assert reflect(torch.arange(-5, 9), 4).tolist() == [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert reflect(torch.arange(-2, 3), 1).tolist() == [0] * 5


def test_each_image_has_its_own_shift() -> None:
    images = random_images(3, 1, 8, 8)
    w = torch.tensor([[0.0, 1.0, -1.0], [0.0, 0.0, 1.0]])
    moved, _ = apply(images, "translate_int", w)
    for k in range(3):
        alone, _ = apply(images[k : k + 1], "translate_int", w[:, k : k + 1])
        assert torch.equal(moved[k], alone[0])
    assert torch.equal(moved[1, :, :, 1:], images[1, :, :, :-1])


def test_quarter_turns_of_oblong_images_are_refused() -> None:
    with pytest.raises(ValueError, match="square images, not 6 x 8"):
        apply(torch.zeros(1, 3, 6, 8), "rotate_int", torch.zeros(1))
