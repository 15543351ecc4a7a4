from __future__ import annotations

import numpy as np
import pytest

from elucidiff.figures.style import lines, slices

RANDOM = np.random.default_rng(0)


def test_a_line_for_each_channel_of_each_signal() -> None:
    x = RANDOM.uniform(-1, 1, (5, 2, 9))
    (axes,) = lines(x, columns=3).axes
    drawn = [line for line in axes.lines if len(line.get_xdata()) == 9]
    assert len(drawn) == 10
    assert len({line.get_color() for line in drawn}) == 2
    # Signal 4 is the second of the second row; one scale for all, in cells of 0.9.
    low, high = np.quantile(x, [0.005, 0.995])
    left, values = drawn[8].get_xdata(), drawn[8].get_ydata()
    assert (left.min(), left.max()) == pytest.approx((1.05, 1.95))
    np.testing.assert_allclose(values, -1 + 0.9 * ((x[4, 0] - low) / (high - low)).clip(0, 1))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((4, 1, 6, 8, 10), (4, 1, 8, 10)), ((4, 3, 8, 10), (4, 3, 8, 10)), ((4, 2, 8, 10), (4, 1, 8, 10))],
)
def test_the_middle_of_each_volume_on_one_scale(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    x = RANDOM.normal(7, 30, shape)
    shown = slices(x)
    assert (shown.shape, shown.dtype) == (expected, np.uint8)
    middle = x[:, :, 3] if x.ndim == 5 else x
    low, high = np.quantile(x, [0.005, 0.995])
    grey = 255 * ((middle[:, : expected[1]] - low) / (high - low)).clip(0, 1)
    np.testing.assert_allclose(shown, grey, atol=0.51)


def test_samples_that_are_all_alike_can_be_drawn() -> None:
    assert slices(np.full((2, 1, 4, 4), 3.0)).max() == 0
    assert len(lines(np.full((2, 1, 4), 3.0), columns=8).axes) == 1
