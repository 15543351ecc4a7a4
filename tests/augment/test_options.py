"""Settings that make no sense are refused by name; the defaults are the published ones."""

from __future__ import annotations

import math

import pytest

from elucidiff.augment import Augment


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("p", 1.5),
        ("p", -0.1),
        ("xflip", -1.0),
        ("scale_std", math.nan),
        ("hue_max", math.inf),
        ("aniso_rotate_prob", 2),
    ],
)
def test_values_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} .*{value}"):
        Augment(**{name: value})


def test_an_integer_shift_needs_a_maximum() -> None:
    with pytest.raises(ValueError, match="translate_int_max"):
        Augment(translate_int=1, translate_int_max=0)


def test_everything_is_off_by_default() -> None:
    assert Augment().active == ()
    assert Augment().label_dim == 0


def test_the_papers_set() -> None:
    augment = Augment.paper()
    assert augment.p == 0.12
    assert augment.active == ("xflip", "yflip", "scale", "rotate_frac", "aniso", "translate_frac")
    assert augment.label_dim == 9
    assert (augment.scale_std, augment.aniso_std, augment.translate_frac_std) == (0.2, 0.2, 0.125)
