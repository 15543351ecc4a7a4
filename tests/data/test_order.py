from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elucidiff.data import InfiniteOrder


@given(
    n=st.integers(1, 40),
    replicas=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    window=st.floats(0, 1),
    start=st.integers(0, 150),
    shuffle=st.booleans(),
)
def test_started_late_it_goes_on_as_if_it_had_not_stopped(
    n: int, replicas: int, seed: int, window: float, start: int, shuffle: bool
) -> None:
    settings: dict[str, Any] = {"replicas": replicas, "seed": seed, "window": window, "shuffle": shuffle}
    for rank in range(replicas):
        whole = InfiniteOrder(n, rank=rank, **settings).take(start + 30)
        assert np.array_equal(InfiniteOrder(n, rank=rank, start=start, **settings).take(30), whole[start:])


def test_one_by_one_and_in_pieces() -> None:
    whole = InfiniteOrder(13, rank=1, replicas=3, seed=2).take(100)
    order = InfiniteOrder(13, rank=1, replicas=3, seed=2)
    pieces = [order.take(0), order.take(7), [next(order) for _ in range(40)], order.take(53)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_processes_share_one_order() -> None:
    whole = InfiniteOrder(20, seed=5).take(120)
    for rank in range(4):
        assert np.array_equal(InfiniteOrder(20, rank=rank, replicas=4, seed=5).take(30), whole[rank::4])


def test_first_pass_without_shuffling_back_is_a_permutation() -> None:
    assert sorted(InfiniteOrder(50, window=0, seed=3).take(50)) == list(range(50))
    assert InfiniteOrder(5, shuffle=False).take(12).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_every_image_comes_about_equally_often() -> None:
    # Independent draws would give 200 +- 14; the order must not be much further from 200 than that for any image.
    counts = np.bincount(InfiniteOrder(100, seed=1).take(20_000), minlength=100)
    assert counts.sum() == 20_000
    assert counts.min() > 150
    assert counts.max() < 250


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "an order of 0 images"),
        ({"n": 4, "rank": 2, "replicas": 2}, r"rank is 2, but must be in 0\.\.1"),
        ({"n": 4, "window": 1.5}, "window is 1.5"),
        ({"n": 4, "seed": -1}, "seed is -1"),
        ({"n": 4, "start": -1}, "start is -1"),
    ],
)
def test_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InfiniteOrder(**arguments)
