from __future__ import annotations

import numpy as np
import pytest

from elucidiff.data.interpreting import find_axes
from elucidiff.data.reading import ChannelAxis

FLOATS = [
    # as they are asked to be saved
    ((20, 3, 32, 32), "first", (3, 32, 32), False),
    ((20, 1, 28, 28), "first", (1, 28, 28), False),
    ((20, 13, 64, 64), "first", (13, 64, 64), False),
    ((20, 3, 16, 32, 32), "first", (3, 16, 32, 32), False),
    ((20, 2, 100), "first", (2, 100), False),
    ((20, 2), "first", (2,), False),
    # channels last
    ((20, 32, 32, 3), "last", (3, 32, 32), True),
    ((20, 64, 48, 1), "last", (1, 64, 48), True),
    ((20, 64, 64, 13), "last", (13, 64, 64), True),
    ((20, 4, 4, 3), "last", (3, 4, 4), True),
    ((20, 16, 32, 32, 3), "last", (3, 16, 32, 32), True),
    ((20, 5000, 12), "last", (12, 5000), True),
    # without channels
    ((20, 32, 32), "none", (1, 32, 32), True),
    ((20, 80, 1000), "none", (1, 80, 1000), True),
    # signals of several channels
    ((20, 12, 5000), "first", (12, 5000), True),
    # nothing tells: taken at its word, and said
    ((20, 4, 9, 3), "first", (4, 9, 3), True),
    ((20, 3, 3, 3), "first", (3, 3, 3), True),
    ((20, 32, 32, 32), "first", (32, 32, 32), True),
    ((20, 784), "first", (784,), True),
]


@pytest.mark.parametrize(("shape", "channel", "image", "said"), FLOATS)
def test_the_likeliest_axes(shape: tuple[int, ...], channel: str, image: tuple[int, ...], said: bool) -> None:
    axes = find_axes(shape, False, None, "x.npy")
    assert (axes.channel, axes.shape(shape[1:]), bool(axes.note)) == (channel, image, said)
    assert axes(np.zeros(shape, np.uint8)).shape == (shape[0], *image)


def test_what_is_said_names_both_readings() -> None:
    assert find_axes((20, 32, 32, 3), False, None, "x.npy").note == (
        "x.npy: (20, 32, 32, 3) is read as 20 images of 3 channels of 32 x 32, channel axis last; for another order"
        " of axes, import it with --channel-axis first or none"
    )


def test_8_bit_data_are_pictures() -> None:
    assert find_axes((20, 12, 500), True, None, "x.npy").channel == "none"


@pytest.mark.parametrize(("channel", "image"), [("first", (7, 5, 4)), ("last", (4, 7, 5)), ("none", (1, 7, 5, 4))])
def test_what_was_asked_for_is_taken(channel: ChannelAxis, image: tuple[int, ...]) -> None:
    stored = np.arange(2 * 7 * 5 * 4).reshape(2, 7, 5, 4)
    axes = find_axes(stored.shape, False, channel, "x.npy")
    images = axes(stored)
    assert (axes.shape((7, 5, 4)), axes.note, images.shape) == (image, "", (2, *image))
    expected = {"first": stored, "last": stored.transpose(0, 3, 1, 2), "none": stored[:, None]}[channel]
    assert np.array_equal(images, expected)


def test_single_numbers_are_images_only_if_that_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"x.npy has shape \(9,\): expected \(N, C, \*spatial\)"):
        find_axes((9,), False, None, "x.npy")
    assert find_axes((9,), False, "none", "x.npy").shape(()) == (1,)
