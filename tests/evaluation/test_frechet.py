"""The Frechet distance against the reference's numbers and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elucidiff.evaluation.frechet import frechet_distance, moments
from tests.golden_files import cases, load


@pytest.mark.parametrize("name", cases("i_fid"))
def test_reference_numbers(name: str) -> None:
    _, t = load(name)
    mu, sigma = moments(t["features"].numpy())
    mu_ref, sigma_ref = moments(t["features_ref"].numpy())
    for ours, theirs in ((mu, "mu"), (sigma, "sigma"), (mu_ref, "mu_ref"), (sigma_ref, "sigma_ref")):
        np.testing.assert_allclose(ours, t[theirs].numpy(), atol=1e-10, rtol=1e-10)
    ours = frechet_distance(mu, sigma, mu_ref, sigma_ref)
    expected = float(t["fid"])
    tolerance = {"full_rank": 1e-8, "small": 1e-8}.get(name.split("/")[1], 1e-6)
    if "identical" in name:
        assert abs(ours) < 1e-6
    else:
        assert ours == pytest.approx(expected, rel=tolerance)
        assert frechet_distance(mu_ref, sigma_ref, mu, sigma) == pytest.approx(ours, rel=1e-9)


@given(st.lists(st.tuples(*[st.floats(-3, 3)] * 2, *[st.floats(0, 4)] * 2), min_size=1, max_size=6))
def test_diagonal_covariances_have_a_closed_form(rows: list[tuple[float, float, float, float]]) -> None:
    m1, m2, s1, s2 = np.array(rows).T
    expected = ((m1 - m2) ** 2 + (s1 - s2) ** 2).sum()
    assert frechet_distance(m1, np.diag(s1**2), m2, np.diag(s2**2)) == pytest.approx(expected, abs=1e-9)


def test_bad_input_is_named() -> None:
    eye = np.eye(3)
    with pytest.raises(ValueError, match="sigma2 has shape"):
        frechet_distance(np.zeros(3), eye, np.zeros(3), np.eye(2))
    with pytest.raises(ValueError, match="sigma1 holds values that are not finite"):
        frechet_distance(np.zeros(3), eye * np.nan, np.zeros(3), eye)
    with pytest.raises(ValueError, match="n >= 2"):
        moments(np.zeros((1, 4)))
