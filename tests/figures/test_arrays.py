from __future__ import annotations

import numpy as np
import pytest

from elucidiff.figures.field_sheet import draw_fields
from elucidiff.figures.style import lines, slices

RANDOM = np.random.default_rng(0)


def test_a_line_for_each_channel_of_each_signal() -> None:
    x = RANDOM.uniform(-1, 1, (5, 2, 9))
    (axes,) = lines(x, columns=3).axes
    drawn = [line for line in axes.lines if len(line.get_xdata()) == 9]
    assert len(drawn) == 10
    assert len({line.get_color() for line in drawn}) == 2
    # Signal 4 is the second of the second row; one scale for each channel, in cells of 0.9.
    low, high = np.quantile(x[:, 0], [0.005, 0.995])
    left, values = drawn[8].get_xdata(), drawn[8].get_ydata()
    assert (left.min(), left.max()) == pytest.approx((1.05, 1.95))
    np.testing.assert_allclose(values, -1 + 0.9 * ((x[4, 0] - low) / (high - low)).clip(0, 1))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((4, 1, 6, 8, 10), (4, 1, 8, 10)), ((4, 3, 8, 10), (4, 1, 8, 10)), ((4, 2, 8, 10), (4, 1, 8, 10))],
)
def test_the_middle_of_each_volume_on_one_scale(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    x = RANDOM.normal(7, 30, shape)
    shown = slices(x)
    assert (shown.shape, shown.dtype) == (expected, np.uint8)
    middle = x[:, :, 3] if x.ndim == 5 else x
    low, high = np.quantile(x[:, :1], [0.005, 0.995])
    grey = 255 * ((middle[:, : expected[1]] - low) / (high - low)).clip(0, 1)
    np.testing.assert_allclose(shown, grey, atol=0.51)


def test_samples_that_are_all_alike_can_be_drawn() -> None:
    assert slices(np.full((2, 1, 4, 4), 3.0)).max() == 0
    assert len(lines(np.full((2, 1, 4), 3.0), columns=8).axes) == 1


def test_fields_are_drawn_by_channel_in_their_units() -> None:
    """Each channel has the robust limits of its own values, NaN left out, however far apart the units are."""
    x = np.stack([280 + 10 * RANDOM.normal(size=(6, 5, 9)), 1e-3 * RANDOM.random((6, 5, 9))], 1)
    x[0, 0, :, :4] = np.nan
    x[1, 1, 0, 0] = 1e9  # an outlier among 270 values
    figure = draw_fields(x, columns=3)
    first, first_bar, second, _ = figure.axes[0], figure.axes[2], figure.axes[1], figure.axes[3]
    for channel, axes in enumerate((first, second)):
        low, high = axes.images[0].get_clim()
        assert (low, high) == pytest.approx(tuple(np.nanquantile(x[:, channel], [0.005, 0.995])))
    sheet = np.ma.getdata(first.images[0].get_array())
    np.testing.assert_array_equal(sheet[:5, 10:19], x[1, 0])  # the second in the first row, a gap after the first
    assert first_bar.get_ylim() == first.images[0].get_clim()
    assert np.ma.getmaskarray(first.images[0].get_array())[:5, :4].all()


def test_channels_of_signals_have_scales_of_their_own() -> None:
    x = np.stack([np.linspace(0, 1, 20), np.linspace(0, 1000, 20)])[None]
    (axes,) = lines(x, columns=1).axes
    one, other = (line.get_ydata() for line in axes.lines[1:])
    np.testing.assert_allclose(one, other)
