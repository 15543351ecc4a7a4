"""What is drawn: the distributions, the gates, and that nothing else moves the generator."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats

from elucidiff.augment import Augment
from elucidiff.augment.base import COLOUR, EXACT, SUBPIXEL

ALL = Augment(**dict.fromkeys((*EXACT, *SUBPIXEL, *COLOUR), 1.0))
N = 20_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_distributions_when_every_gate_passes() -> None:
    params = ALL.draw(N, generator())
    for option, end in (("xflip", 2), ("yflip", 2), ("rotate_int", 4), ("lumaflip", 2)):
        counts = torch.bincount(params[option], minlength=end)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3, option
    for option in ("scale", "aniso", "translate_frac", "brightness", "contrast", "saturation"):
        assert stats.kstest(params[option].flatten().numpy(), "norm").pvalue > 1e-3, option
    for option, largest in (("translate_int", 1.0), ("rotate_frac", math.pi), ("hue", math.pi)):
        w = params[option].flatten().numpy()
        assert stats.kstest(w, "uniform", args=(-largest, 2 * largest)).pvalue > 1e-3, option


def test_ranges_follow_the_maxima() -> None:
    params = replace(ALL, rotate_frac_max=0.25, hue_max=0.5).draw(N, generator())
    assert 0.249 * math.pi < params["rotate_frac"].abs().max() <= 0.25 * math.pi
    assert 0.499 * math.pi < params["hue"].abs().max() <= 0.5 * math.pi


@pytest.mark.parametrize(("p", "multiplier"), [(0.12, 1.0), (0.5, 0.5), (0.2, 3.0)])
def test_gates_pass_with_probability_multiplier_times_p(p: float, multiplier: float) -> None:
    augment = Augment(p=p, **dict.fromkeys((*SUBPIXEL, "hue"), multiplier))
    params = augment.draw(N, generator(1))
    for option in augment.active:
        passed = (params[option].reshape(-1, N) != 0).any(0).sum().item()
        assert stats.binomtest(passed, N, p * multiplier).pvalue > 1e-3, option


def test_both_coordinates_of_a_shift_share_a_gate() -> None:
    params = Augment(p=0.3, translate_frac=1, translate_int=1).draw(N, generator(2))
    for w in params.values():
        assert torch.equal(w[0] != 0, w[1] != 0)


def test_direction_of_the_stretch_has_its_own_gate() -> None:
    params = Augment(p=0.1, aniso=1, aniso_rotate_prob=0.8).draw(N, generator(3))
    assert stats.binomtest(int((params["aniso"] != 0).sum()), N, 0.1).pvalue > 1e-3
    assert stats.binomtest(int((params["aniso_angle"] != 0).sum()), N, 0.8).pvalue > 1e-3


def test_mirror_of_the_papers_set_does_not_depend_on_p() -> None:
    w = Augment.paper(p=1e-3).draw(N, generator(4))["xflip"]
    assert stats.binomtest(int(w.sum()), N, 0.5).pvalue > 1e-3


def test_number_of_draws_does_not_depend_on_the_gates() -> None:
    states = []
    for p in (0.0, 0.12, 1.0):
        source = generator(5)
        replace(ALL, p=p).draw(7, source)
        states.append(source.get_state())
    assert all(torch.equal(state, states[0]) for state in states)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    ALL.draw(16, generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_types_are_counts_and_float32_whatever_the_default_type() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        params = ALL.draw(4, generator(6))
    finally:
        torch.set_default_dtype(torch.float32)
    expected = ALL.draw(4, generator(6))
    for name, w in params.items():
        assert w.dtype == (torch.int64 if name in ("xflip", "yflip", "rotate_int", "lumaflip") else torch.float32)
        assert torch.equal(w, expected[name])


def test_negative_number_of_images_is_refused() -> None:
    with pytest.raises(ValueError, match="-3"):
        ALL.draw(-3, generator())
