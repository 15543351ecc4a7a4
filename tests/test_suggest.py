from __future__ import annotations

import pytest

from elucidiff.suggest import suggestion

KNOWN = ["digits", "cifar10", "sigma_min", "sigma_max"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("digit", "did you mean 'digits'?"),
        ("Digits", "did you mean 'digits'?"),
        ("cifar-10", "did you mean 'cifar10'?"),
        ("sigma_mx", "did you mean 'sigma_max'?"),
        ("zzz", "known: digits, cifar10, sigma_min, sigma_max"),
        ("", "known: digits, cifar10, sigma_min, sigma_max"),
    ],
)
def test_the_nearest_or_all(name: str, says: str) -> None:
    assert suggestion(name, KNOWN) == says


def test_names_come_back_as_they_are_written() -> None:
    assert suggestion("heun", ["Heun", "Euler"]) == "did you mean 'Heun'?"
    assert suggestion("zzz", iter(["Heun", "Euler"])) == "known: Heun, Euler"
