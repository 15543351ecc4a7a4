"""Seeds: each sample's draws are its own. (Their values are in test_golden.py.)"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elucidiff.sampling import SeededNoise, parse_seeds

SEEDS = st.lists(st.integers(0, 2**40), min_size=1, max_size=5)


@given(SEEDS, st.randoms(use_true_random=False))
def test_draws_depend_on_the_own_seed_alone(seeds: list[int], random: object) -> None:
    order = list(range(len(seeds)))
    random.shuffle(order)
    ours, shuffled, alone = SeededNoise(seeds), SeededNoise(seeds[i] for i in order), SeededNoise(seeds[:1])
    latents, labels = ours.latents((2, 3)), ours.labels(7)
    noise = ours(latents.double(), 0)
    assert torch.equal(shuffled.latents((2, 3)), latents[order])
    assert torch.equal(shuffled.labels(7), labels[order])
    assert torch.equal(shuffled(latents.double(), 0), noise[order])
    assert torch.equal(alone.latents((2, 3)), latents[:1])
    assert torch.equal(alone.labels(7), labels[:1])
    assert torch.equal(alone(latents[:1].double(), 0), noise[:1])


def test_noise_is_the_same_for_every_type() -> None:
    wide = SeededNoise([1, 2])(torch.zeros(2, 1, 4, 4, dtype=torch.float64), 0)
    narrow = SeededNoise([1, 2])(torch.zeros(2, 1, 4, 4), 0)
    assert torch.equal(wide.float(), narrow)


def test_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    noise = SeededNoise([5])
    noise(noise.latents((3,)), noise.labels(10))
    assert torch.equal(torch.get_rng_state(), before)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 5)), min_size=1, max_size=6))
def test_seed_lists_expand(ranges: list[tuple[int, int]]) -> None:
    text = ",".join(str(first) if not extra else f"{first}-{first + extra}" for first, extra in ranges)
    assert list(parse_seeds(text)) == [seed for first, extra in ranges for seed in range(first, first + extra + 1)]


@pytest.mark.parametrize("text", ["", "a", "1,,2", "-5", "1-", "3-1", "1.5", "0x10", "1 2", "²"])
def test_seed_lists_that_do_not_parse(text: str) -> None:
    with pytest.raises(ValueError, match=r"seeds '.*': ") as caught:
        parse_seeds(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4294967296", "4294967296 is too large, the largest seed is 4294967295"),
        ("0-99999999999999999999", "99999999999999999999 is too large"),
    ],
)
def test_seeds_that_are_too_large(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_seeds(text)
    assert "\n" not in str(caught.value)


def test_the_largest_seed_is_its_own() -> None:
    (largest,) = parse_seeds("4294967295")
    assert torch.equal(SeededNoise([largest]).latents((4,)), SeededNoise([-1]).latents((4,)))
    assert not torch.equal(SeededNoise([largest]).latents((4,)), SeededNoise([0]).latents((4,)))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="no seeds"):
        SeededNoise([])
    with pytest.raises(ValueError, match="2 seeds for 3 samples"):
        SeededNoise([1, 2])(torch.zeros(3, 1), 0)
    with pytest.raises(ValueError, match="label out of 0"):
        SeededNoise([1]).labels(0)
