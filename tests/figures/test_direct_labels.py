"""Names at the ends of curves: as near as they can be, none over another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from elucidiff.figures.quality_against_nfe import End, label_ends, spread_out
from elucidiff.figures.style import new_figure

heights = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@given(heights, st.floats(0.01, 0.4))
def test_apart_in_order_and_about_the_same_middle(wanted: list[float], gap: float) -> None:
    placed = spread_out(wanted, gap)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(placed[order]) >= gap - 1e-9).all()
    assert placed.mean() == pytest.approx(np.mean(wanted), abs=1e-9)  # what pools keep


def test_nearest_possible() -> None:
    wanted, gap = np.array([0.5, 0.52, 0.1, 0.55, 0.9]), 0.1
    order = np.argsort(wanted)
    best = minimize(
        lambda x: ((x - wanted) ** 2).sum(), wanted, method="SLSQP", options={"ftol": 1e-14},
        constraints=[{"type": "ineq", "fun": lambda x: np.diff(x[order]) - gap}],
    )  # fmt: skip
    np.testing.assert_allclose(spread_out(wanted, gap), best.x, atol=1e-6)


def test_left_alone_where_there_is_room() -> None:
    np.testing.assert_array_equal(spread_out([0.9, 0.1, 0.5], 0.2), [0.9, 0.1, 0.5])


def test_names_stand_beside_their_ends() -> None:
    figure = new_figure(6, 3)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.1, 0.1, 0.5, 0.8))
    axes.set(xlim=(1, 100), ylim=(0.01, 100), xscale="log", yscale="log")
    label_ends(
        axes, [End(100, 1.0, "middle", "red"), End(100, 10.0, "higher", "blue"), End(10, 10.0, "same", "green")]
    )
    middle, higher, same = axes.texts
    assert middle.xyann == pytest.approx((1.04, 0.5))  # half-way up four decades
    assert (higher.xyann[1] + same.xyann[1]) / 2 == pytest.approx(0.75)
    assert same.xyann[1] - higher.xyann[1] == pytest.approx(1.35 * 8 / (0.8 * 3 * 72))
    assert same.xy == pytest.approx((0.5, 0.75))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
