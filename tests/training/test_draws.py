"""Randomness by position: the same numbers for the same step, whoever draws them and whenever."""

from __future__ import annotations

import torch
from torch import Tensor

from elucidiff.training.batches import Draws, draw, mix, seeded_layers


class Levels:
    def base(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=generator)


class Augmentations:
    def draw(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {
            "scale": torch.randn(n, generator=generator),
            "translate_frac": torch.randn(2, n, generator=generator),
        }


SHAPE = (6, 1, 4, 4)


def test_a_step_draws_the_same_whenever_it_is_drawn() -> None:
    unbroken = [draw(7, step, SHAPE, Levels(), Augmentations()) for step in range(5)]
    torch.randn(1000)  # the global generator is nobody's business
    _assert_equal(draw(7, 3, SHAPE, Levels(), Augmentations()), unbroken[3])


def test_steps_and_seeds_differ() -> None:
    base = draw(7, 3, SHAPE, Levels())
    for other in (draw(7, 4, SHAPE, Levels()), draw(8, 3, SHAPE, Levels())):
        assert not torch.equal(other.noise, base.noise)
        assert not torch.equal(other.level, base.level)


def test_parts_put_together_are_the_whole() -> None:
    whole = draw(0, 0, SHAPE, Levels(), Augmentations())
    parts = [whole.part(slice(start, start + 2)) for start in (0, 2, 4)]
    put_together = Draws(
        torch.cat([part.level for part in parts]),
        {name: torch.cat([part.augmentation[name] for part in parts], dim=-1) for name in whole.augmentation},
        torch.cat([part.noise for part in parts]),
    )
    assert parts[0].augmentation["translate_frac"].shape == (2, 2)
    _assert_equal(put_together, whole)


def test_augmentation_leaves_levels_and_noise_alone() -> None:
    without, with_ = draw(1, 2, SHAPE, Levels()), draw(1, 2, SHAPE, Levels(), Augmentations())
    assert torch.equal(without.level, with_.level)
    assert torch.equal(without.noise, with_.noise)
    assert without.augmentation == {}


def test_noise_is_unit_and_unrelated_to_the_levels() -> None:
    drawn = [draw(0, step, (64, 1, 8, 8), Levels()) for step in range(50)]
    noise, level = torch.cat([d.noise for d in drawn]), torch.cat([d.level for d in drawn])
    count = noise.numel()
    assert abs(noise.mean().item()) < 4 / count**0.5
    assert abs(noise.var().item() - 1) < 4 * (2 / count) ** 0.5
    correlation = torch.corrcoef(torch.stack([noise[:, 0, 0, 0], level]))[0, 1].item()
    assert abs(correlation) < 4 / len(level) ** 0.5


def test_mix_tells_all_places_apart() -> None:
    seeds = {mix(seed, purpose, step) for seed in range(20) for purpose in ("noise", "level") for step in range(100)}
    assert len(seeds) == 20 * 2 * 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mix(1, 23) != mix(12, 3)


def test_layers_draw_by_seed_step_and_place_and_leave_no_trace() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    drawn = {}
    for place in [(0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0), (0, 0, 0)]:
        with seeded_layers(*place, torch.device("cpu")):
            value = tuple(torch.nn.functional.dropout(torch.ones(64)).tolist())
        assert drawn.setdefault(place, value) == value
    assert len(set(drawn.values())) == 4
    assert torch.equal(torch.rand(3), expected)


def _assert_equal(first: Draws, second: Draws) -> None:
    assert torch.equal(first.level, second.level)
    assert torch.equal(first.noise, second.noise)
    assert first.augmentation.keys() == second.augmentation.keys()
    assert all(torch.equal(first.augmentation[name], second.augmentation[name]) for name in first.augmentation)
