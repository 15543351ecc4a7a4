"""Figures of features whose distributions are known, and their errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from elucidiff.evaluation.frechet import Gaussian, frechet_distance, moments
from elucidiff.evaluation.quality.extractors import Features
from elucidiff.evaluation.quality.metrics import (
    BLOCKS,
    error_of_blocks,
    frechet,
    frechet_infinity,
    inception_score,
    jackknife,
    kernel,
    precision_recall,
)
from elucidiff.evaluation.quality.reference import Reference
from tests.evaluation.quality.small import reference_of

DIM = 12


def normal(count: int, seed: int, shift: float = 0.0) -> Features:
    rows: Features = np.random.default_rng(seed).standard_normal((count, DIM)) + shift
    return rows


def exact() -> Reference:
    """A unit Gaussian, known exactly."""
    return Reference("unit", "", Gaussian(np.zeros(DIM), np.eye(DIM)), None, None, None, None)


def test_moments_in_chunks_are_those_of_numpy() -> None:
    rows = (normal(3000, 0) * np.arange(1, DIM + 1) + 100).astype(np.float32)
    mean, covariance = moments(rows)
    np.testing.assert_allclose(mean, rows.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(rows.astype(np.float64), rowvar=False), rtol=1e-9, atol=1e-9)


def test_the_distance_of_features() -> None:
    rows = normal(500, 0, 0.5)
    expected = frechet_distance(rows.mean(0), np.cov(rows, rowvar=False), np.zeros(DIM), np.eye(DIM))
    assert frechet(rows, exact()) == pytest.approx(expected, rel=1e-9)


def test_infinitely_many_images_have_no_bias() -> None:
    true = DIM * 0.1**2
    counts = 240  # 20 a feature
    figures = [(frechet(rows, exact()), frechet_infinity(rows, exact()))
               for rows in (normal(counts, seed, 0.1) for seed in range(60))]  # fmt: skip
    (biased, free), noise = np.mean(figures, axis=0), np.std(figures, axis=0, ddof=1) / 60**0.5
    assert biased > true + 20 * noise[0]
    assert abs(free - true) < 4 * noise[1]


def test_extrapolation_to_infinity_by_hand() -> None:
    rows = normal(96, 1)
    whole = frechet(rows, exact())
    halves = (frechet(rows[:48], exact()) + frechet(rows[48:], exact())) / 2
    assert frechet_infinity(rows, exact()) == pytest.approx(2 * whole - halves, rel=1e-9)


def test_kernel_distance_is_the_unbiased_estimate(tmp_path: Path) -> None:
    x, y = normal(60, 0, 0.3).astype(np.float32), normal(60, 1).astype(np.float32)
    k = [(a.astype(np.float64) @ b.T.astype(np.float64) / DIM + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
    apart = ~np.eye(60, dtype=bool)
    expected = k[0][apart].mean() + k[1][apart].mean() - 2 * k[2].mean()
    assert kernel(x, reference_of(y, tmp_path)) == pytest.approx(expected, rel=1e-4)


def test_precision_and_recall_of_what_is_known(tmp_path: Path) -> None:
    y = normal(80, 1)
    reference = reference_of(y, tmp_path)
    assert precision_recall(y, reference) == (1.0, 1.0)
    assert precision_recall(y + 100, reference) == (0.0, 0.0)
    # Half of the images are far off; the others are the reference's own.
    half = np.concatenate([y[:40], y[:40] + 1000])
    precision, recall = precision_recall(half, reference)
    assert precision == 0.5
    assert 0.5 <= recall <= 1


def test_inception_score_of_certain_and_even_classes() -> None:
    """With as many images of each of 5 classes, all certain, in every split, it would be 5."""
    logits = 50.0 * np.eye(5)[np.arange(5000) % 5]
    score, error = inception_score(logits.astype(np.float32))
    assert 4.95 < score < 5
    assert 0 < error < 0.01


def test_the_error_of_an_inception_score_is_that_of_a_mean_over_ten_independent_splits() -> None:
    """Salimans et al. 2016: exp E KL(p(y|x) || p(y)) of each of 10 parts; the standard error is s / sqrt(10), with
    s the standard deviation of a sample, which divides by 9."""
    logits = np.random.RandomState(1).normal(size=(400, 6)) * np.linspace(0.2, 4, 400)[:, None]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    order = np.random.RandomState(2020).permutation(400)  # which parts torch-fidelity takes
    parts = p[order].reshape(10, 40, 6)
    divergence = (parts * np.log(parts / parts.mean(1, keepdims=True))).sum(2).mean(1)
    scores = np.exp(divergence)
    score, error = inception_score(logits)
    assert score == pytest.approx(scores.mean(), rel=1e-10)
    assert error == pytest.approx(np.sqrt(((scores - scores.mean()) ** 2).sum() / 9 / 10), rel=1e-9)


def test_the_jackknife_of_a_mean_is_its_classic_error() -> None:
    values = normal(200, 3)[:, :1]
    found = jackknife(lambda rows: {"mean": float(rows.mean())}, values)
    blocks = values.reshape(BLOCKS, -1).mean(1)
    assert found["mean"] == pytest.approx(blocks.std(ddof=1) / BLOCKS**0.5, rel=1e-9)
    assert error_of_blocks(lambda rows: float(rows.mean()), values) == pytest.approx(found["mean"], rel=1e-9)


def calibration(
    figure: Callable[[Features], float], error: Callable[[Features], float], samples: list[Features]
) -> float:
    """Stated error over the standard deviation that the figure really has."""
    stated = np.sqrt(np.mean([error(rows) ** 2 for rows in samples]))
    return float(stated / np.std([figure(rows) for rows in samples], ddof=1))


@pytest.mark.parametrize("count", [30, 300])
def test_the_error_of_a_frechet_distance_is_that_of_repeats(count: int) -> None:
    """With as many images as features nearly, and with many."""
    samples = [normal(count, seed, 0.4) for seed in range(30)]

    def error(rows: Features) -> float:
        return jackknife(lambda part: {"fid": frechet(part, exact())}, rows)["fid"]

    assert 0.75 < calibration(lambda rows: frechet(rows, exact()), error, samples) < 1.4


def test_the_error_of_a_kernel_distance_is_that_of_repeats(tmp_path: Path) -> None:
    reference = reference_of(normal(120, 99), tmp_path)
    samples = [normal(60, seed, 0.4) for seed in range(30)]

    def error(rows: Features) -> float:
        return error_of_blocks(lambda part: kernel(part, reference, 10), rows)

    assert 0.7 < calibration(lambda rows: kernel(rows, reference, 10), error, samples) < 1.5
