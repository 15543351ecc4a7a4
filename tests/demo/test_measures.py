"""The demo's figures on digits whose quality is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from elucidiff.demo.study import Evaluator


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    bunch = load_digits()
    return bunch.images[:, None] / 8.0 - 1.0, bunch.target


@pytest.fixture(scope="module")
def evaluator(digits: tuple[Any, Any]) -> Evaluator:
    images, labels = digits
    return Evaluator.fit(images[360:], labels[360:], images[:360], labels[:360])


def test_real_digits_are_recognised_and_shuffled_labels_are_not(
    evaluator: Evaluator, digits: tuple[Any, Any]
) -> None:
    images, labels = digits
    assert evaluator.classifier_accuracy > 0.95
    assert evaluator.accuracy(images[:360], labels[:360]) == evaluator.classifier_accuracy
    assert evaluator.accuracy(images[:360], (labels[:360] + 1) % 10) < 0.05


def test_distance_is_zero_for_the_same_digits_small_for_real_ones_and_large_for_noise(
    evaluator: Evaluator, digits: tuple[Any, Any]
) -> None:
    images, _ = digits
    assert evaluator.distances(images[:360])[0] == pytest.approx(0.0, abs=1e-9)
    real = float(np.mean(evaluator.real_distances(repeats=5)))
    noise = np.random.default_rng(0).normal(0, 0.75, (720, 1, 8, 8))
    assert 0.1 < real < 1.5
    assert min(evaluator.distances(noise)) > 5 * real
    assert len(evaluator.distances(noise)) == 2
