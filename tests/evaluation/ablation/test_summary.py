"""Means, standard errors and paired differences, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from elucidiff.evaluation.ablation.tables import Estimate, paired


def test_spread() -> None:
    estimate = Estimate.of([1.0, 2.0, 6.0])
    # Variance (4 + 1 + 9) / 2 = 7.
    assert (estimate.mean, estimate.count) == (3.0, 3)
    assert estimate.error == pytest.approx(math.sqrt(7 / 3))
    alone = Estimate.of([0.25])
    assert alone.mean == 0.25
    assert math.isnan(alone.error)
    assert math.isnan(Estimate.of([1.0, math.inf]).mean)


def test_what_seeds_have_in_common_cancels() -> None:
    values, reference = {0: 1.1, 1: 2.1, 2: 3.2, 7: 100.0}, {0: 1.0, 1: 2.0, 2: 3.0, 8: -100.0}
    difference = paired(values, reference)
    assert difference is not None
    assert difference.mean == pytest.approx(0.4 / 3)
    assert difference.error == pytest.approx(0.1 / 3)
    assert difference.count == 3
    assert paired({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("estimate", "sign", "text"),
    [
        (Estimate(0.123456, 0.0056, 3), False, "0.1235 ± 0.0056"),
        (Estimate(123.456, 1.26, 3), False, "123.5 ± 1.3"),
        (Estimate(1234.5, 210.0, 3), False, "1234 ± 210"),
        (Estimate(0.0004321, math.nan, 1), False, "0.000432"),
        (Estimate(0.05, 0.2, 3), True, "+0.05 ± 0.20"),
        (Estimate(-0.05, 0.2, 3), True, "-0.05 ± 0.20"),
        (Estimate(2.0, 0.0, 2), False, "2.00 ± 0.00"),
        (Estimate(1.0, 1e-12, 2), True, "+1.000000000 ± 0.000000000"),
        (Estimate(3.123e-17, 5.2e-19, 3), False, "3.1e-17 ± 5.2e-19"),
        (Estimate(-3.123e-17, math.nan, 1), True, "-3.1e-17"),
        (Estimate(math.nan, math.nan, 2), False, "not finite"),
    ],
)
def test_text(estimate: Estimate, sign: bool, text: str) -> None:
    assert estimate.text(sign) == text


def test_what_may_be_zero() -> None:
    # Student's t with 2 degrees of freedom is exceeded by 4.303 in 5% of cases, both sides together.
    assert Estimate(-0.43, 0.1, 3).may_be_zero()
    assert not Estimate(0.431, 0.1, 3).may_be_zero()
    assert not Estimate(0.2, 0.1, 1000).may_be_zero()
    assert Estimate(0.19, 0.1, 1000).may_be_zero()
    assert not Estimate(0.0, math.nan, 1).may_be_zero()
    assert not Estimate(math.nan, math.nan, 3).may_be_zero()
