"""Ranges of seeds behave as the list that they stand for."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elucidiff.sampling import parse_seeds
from elucidiff.sampling.seeds import SeedRanges

RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)).map(lambda pair: range(pair[0], sum(pair))))


@given(RANGES, st.integers(-60, 60), st.integers(-60, 60), st.sampled_from([None, 1, 2, -1]))
def test_as_a_list(ranges: list[range], start: int, stop: int, step: int | None) -> None:
    seeds, listed = SeedRanges(ranges), [seed for part in ranges for seed in part]
    assert list(seeds) == listed
    assert len(seeds) == len(listed)
    assert [seeds[k] for k in range(-len(listed), len(listed))] == listed + listed
    assert list(seeds[start:stop:step]) == listed[start:stop:step]
    repeated = sorted({seed for seed in listed if listed.count(seed) > 1})
    assert seeds.first_repeated() == (repeated[0] if repeated else None)
    if listed:
        assert seeds.largest == max(listed)
        assert parse_seeds(str(seeds)) == seeds
        assert hash(parse_seeds(str(seeds))) == hash(seeds)
    for outside in (len(listed), -len(listed) - 1):
        with pytest.raises(IndexError, match=f"none has index {outside}"):
            seeds[outside]


def test_equal_when_the_seeds_are() -> None:
    assert parse_seeds("0-9,10-19") == parse_seeds("0-19") != parse_seeds("10-19,0-9")
    assert str(parse_seeds("0-9,10-19,30")) == "0-19,30"
    assert parse_seeds("3") != [3]


def test_all_seeds_there_are_take_no_room_and_no_time() -> None:
    begun = time.perf_counter()
    seeds = parse_seeds("5,0-4294967295")
    assert len(seeds) == 2**32 + 1
    assert seeds[2**32] == 2**32 - 1
    assert str(seeds[4_000_000_000:4_000_000_003]) == "3999999999-4000000001"
    assert seeds.first_repeated() == 5
    assert sys.getsizeof(seeds) + sum(sys.getsizeof(value) for value in vars(seeds).values()) < 1000
    assert time.perf_counter() - begun < 1
