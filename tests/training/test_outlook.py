"""What more time would bring, against power laws that are known; and remarks in plain words."""

from __future__ import annotations

import numpy as np
import pytest

from elucidiff.training.outlook import outlook, remark


def lines(
    floor: float, slope: float, exponent: float, noise: float = 0.0, count: int = 100, seed: int = 0
) -> list[dict[str, float]]:
    images = np.arange(1, count + 1) * 1_000
    loss = floor + slope * (images / images[-1]) ** -exponent
    loss *= np.exp(noise * np.random.default_rng(seed).normal(size=count))
    return [{"images": int(n), "loss": float(value)} for n, value in zip(images, loss, strict=True)]


@pytest.mark.parametrize(("floor", "slope", "exponent"), [(0.2, 0.1, 0.5), (0.0, 0.3, 0.2), (0.25, 0.05, 1.0)])
def test_a_power_law_is_continued(floor: float, slope: float, exponent: float) -> None:
    found = outlook(lines(floor, slope, exponent))
    assert found is not None
    assert found.now == pytest.approx(floor + slope, rel=1e-3)
    assert found.twice == pytest.approx(floor + slope * 2**-exponent, rel=3e-3)


@pytest.mark.parametrize("noise", [0.005, 0.03])
def test_95_percent_of_the_intervals_hold_the_truth(noise: float) -> None:
    truth = (0.2 + 0.1 * 2**-0.5) / 0.3
    held = 0
    for seed in range(60):
        found = outlook(lines(0.2, 0.1, 0.5, noise, seed=seed))
        assert found is not None
        held += found.low <= truth * found.now <= found.high
    assert 51 <= held <= 60  # 57 expected; 50 and fewer have a chance of 1 in 500


def test_a_loss_that_has_settled_is_told_so() -> None:
    found = outlook(lines(0.3, 0.0, 1.0, 1e-4))
    assert found is not None
    assert found.text == "twice the images so far would lower the loss by less than 1%"
    rising = outlook(lines(0.4, -0.1, 0.5))
    assert rising is not None
    assert rising.twice == rising.now


def test_too_few_losses_tell_nothing() -> None:
    assert outlook(lines(0.2, 0.1, 0.5, count=7)) is None
    assert outlook([{"images": 5, "loss": float("nan")}]) is None
    assert remark([]) == ""
    assert remark(lines(0.2, 0.1, 0.5)) == ""


def test_remarks_in_plain_words() -> None:
    known = lines(0.2, 0.1, 0.5)
    checked = {
        "images": 100_000, "validation_loss": 0.31, "validation_best_images": 100_000, "overfitting_levels": 0,
        "memorised_fraction": 0.0, "memorised_fraction_real": 0.03125,
    }  # fmt: skip
    said = remark([*known, checked])
    assert said.startswith("after 100,000 images: loss 0.31 on held-out images, 0.30")
    assert "(the lowest so far)" in said
    assert "its samples are no copies of training images" in said
    assert "would lower the loss by about 10%" in said  # 1 - (0.2 + 0.1 / sqrt(2)) / 0.3 = 9.8%
    over = {**checked, "validation_best_images": 40_000, "overfitting_levels": 3, "memorised_fraction": 0.25}
    said = remark([*known, over])
    assert "it overfits: the held-out loss was lowest after 40,000 images, whose model is in best/" in said
    assert "25% of its samples are copies of training images (3% of real images would be)" in said
    assert "would lower" not in said
    two = {"images": 9, "memorised_fraction": 1.0}
    assert remark([two]) == "after 9 images: 100% of its samples are copies of training images"
