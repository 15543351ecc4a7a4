"""What a denoiser knows of its labels: names, numbers, and how often each class is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elucidiff.denoisers.labels import KnownLabels
from elucidiff.sampling import SeededNoise

PETS = KnownLabels(3, names=("ant", "cat", "dog"), counts=(90, 0, 10))
GAPS = KnownLabels(2, names=("3", "5"), counts=(30, 30))


def draws(seeds: Any = range(2000)) -> Callable[[int], torch.Tensor]:
    return SeededNoise(seeds).labels


def shares(known: KnownLabels, **options: bool) -> list[float]:
    return known.draw(draws(), **options).mean(0).tolist()


def test_classes_are_drawn_as_often_as_they_were_trained() -> None:
    # Binomial: four standard deviations of 2000 draws.
    assert shares(PETS) == pytest.approx([0.9, 0, 0.1], abs=4 * (0.09 / 2000) ** 0.5)
    assert shares(PETS)[1] == 0
    three = KnownLabels(3, counts=(100, 500, 400))
    assert shares(three) == pytest.approx([0.1, 0.5, 0.4], abs=4 * (0.25 / 2000) ** 0.5)


def test_uniform_draws_all_that_were_trained_equally_often() -> None:
    assert shares(PETS, uniform=True) == pytest.approx([0.5, 0, 0.5], abs=4 * (0.25 / 2000) ** 0.5)


@pytest.mark.parametrize("counts", [(), (1, 1, 1, 1), (5000, 5000, 5000, 5000)])
def test_equal_or_unknown_frequencies_are_the_reference_s_draw(counts: Any) -> None:
    drawn = KnownLabels(4, counts=counts).draw(draws()).argmax(1)
    assert torch.equal(drawn, SeededNoise(range(2000)).labels(4))


@given(
    st.lists(st.integers(0, 10**12), min_size=2, max_size=5).filter(any),
    st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=6),
)
def test_a_label_depends_on_its_own_seed_alone(counts: list[int], seeds: list[int]) -> None:
    known = KnownLabels(len(counts), counts=tuple(counts))
    together = known.draw(draws(seeds))
    for row, seed in zip(together, seeds, strict=True):
        assert torch.equal(known.draw(draws([seed]))[0], row)
        assert counts[int(row.argmax())] > 0


@pytest.mark.parametrize("counts", [(), (9, 1), (3 * 10**9, 1, 10**9), (2**27, 1)])
def test_what_is_drawn_after_a_label_does_not_depend_on_the_frequencies(counts: Any) -> None:
    noise, plain = SeededNoise([7, 8]), SeededNoise([7, 8])
    KnownLabels(len(counts) or 10, counts=counts).draw(noise.labels)
    plain.labels(10)
    x = torch.zeros(2, 1, 4, dtype=torch.float64)
    assert torch.equal(noise(x, 0), plain(x, 0))


@pytest.mark.parametrize(
    ("labels", "places"),
    [("cat", [1]), (["dog", "ant"], [2, 0]), ([2, 0], [2, 0]), (np.array(["ant"]), [0]), (torch.eye(3)[[1]], [1])],
)
def test_names_numbers_and_rows_are_the_same_classes(labels: Any, places: list[int]) -> None:
    assert torch.equal(PETS.rows(labels), torch.eye(3)[places])


def test_the_numbers_of_classes_are_those_of_the_data() -> None:
    rows = torch.eye(2)
    assert torch.equal(GAPS.rows([5, 3, 5]), rows[[1, 0, 1]])
    wide = GAPS.by_number(rows)
    assert wide.argmax(1).tolist() == [3, 5]
    assert torch.equal(GAPS.rows(wide), rows)
    assert GAPS.numbers_of(rows) == GAPS.numbers_of(wide) == [3, 5]
    huge = KnownLabels(2, names=("-1", "1000000000000"))
    assert torch.equal(huge.by_number(rows), rows)
    assert huge.numbers_of(rows) == [-1, 10**12]
    assert torch.equal(huge.rows([10**12]), rows[[1]])


@pytest.mark.parametrize(
    ("known", "labels", "says"),
    [
        (GAPS, [4], "class 4 is out of range, the model knows 3, 5"),
        (GAPS, torch.eye(6)[[4]], "label rows stand for classes that the model does not know: it knows 3, 5"),
        (PETS, "cta", "there is no class 'cta'; did you mean 'cat'"),
        (PETS, [3], "class index 3 is out of range"),
        (KnownLabels(2, "vectors"), ["cat"], "this denoiser takes label vectors"),
        (KnownLabels(0), "cat", "a denoiser without classes"),
        (KnownLabels(2, "vectors"), [0, 1], "this denoiser takes label vectors"),
    ],
)
def test_labels_that_are_not_known(known: KnownLabels, labels: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        known.rows(labels)


def test_an_untrained_class_is_refused_in_rows_too() -> None:
    PETS.refuse_untrained(torch.tensor([[0.5, 0, 0.5]]))
    with pytest.raises(ValueError, match="class cat had no training images"):
        PETS.refuse_untrained(torch.tensor([[0.5, 0, 0.5], [0.9, 0.1, 0]]))
    KnownLabels(3).refuse_untrained(torch.ones(1, 3))  # nobody knows


def test_presence_is_a_column_of_its_own() -> None:
    known = KnownLabels(2, "vectors", presence=True)
    rows = known.with_presence(known.rows(torch.zeros(1, 2)))
    assert rows.tolist() == [[0, 0, 1]]
    assert known.with_presence(known.rows(rows)).tolist() == [[0, 0, 1]]


def test_names_of_control_characters_are_told_so_that_they_can_be_printed() -> None:
    known = KnownLabels(2, names=("ca\x7ft", "dog\x1b[2J"), counts=(9, 0))
    assert known.shares() == r"ca\x7ft 100.0%, dog\x1b[2J 0.0%"
    with pytest.raises(ValueError, match="had no training images") as caught:
        known.refuse_untrained(torch.tensor([[0.0, 1.0]]))
    assert r"dog\x1b[2J" in str(caught.value)
