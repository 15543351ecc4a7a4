"""Images that stand for all."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elucidiff.data.subsets import evenly_spread, of_each_class


@given(st.integers(1, 200), st.integers(1, 50))
def test_evenly_spread(size: int, count: int) -> None:
    places = np.arange(size) * 3
    chosen = evenly_spread(places, count)
    assert len(chosen) == min(size, count)
    assert set(chosen) <= set(places)
    if 1 < len(chosen) < size:
        assert (chosen[0], chosen[-1]) == (places[0], places[-1])
        gaps = np.diff(chosen) // 3
        assert gaps.max() - gaps.min() <= 1


def test_every_class_has_its_share_and_what_is_left_out_stays_out() -> None:
    classes = np.array([0, 2, 2, 0, 2, 2, 5, 2, 0])
    found = of_each_class(np.array([0, 1, 2, 4, 5, 6, 7, 8]), classes, 3)
    assert [(label, places.tolist()) for label, places in found] == [(0, [0, 8]), (2, [1, 4, 7]), (5, [6])]
