"""The early warning, on metrics whose story is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from elucidiff.training.checks import held_out_trend
from elucidiff.training.metrics import LossMeter, LossSummary, MetricsLog

LEVELS = (0.05, 0.5, 5.0)


def summary(losses: Sequence[float], error: float = 0.02) -> LossSummary:
    """Held-out losses at three noise levels, with equal standard errors."""
    by_sigma = dict(zip(LEVELS, losses, strict=True))
    errors = dict.fromkeys(LEVELS, error)
    return LossSummary(sum(losses) / 3, by_sigma, 300, 0, error, errors)


def story(held_out: Sequence[Sequence[float]], training: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """metrics.jsonl with a log line before each checkpoint, but without the last checkpoint."""
    lines: list[dict[str, Any]] = []
    for number, (now, train) in enumerate(zip([*held_out, None], training, strict=True), 1):
        named = {f"{sigma:.4g}": loss for sigma, loss in zip(LEVELS, train, strict=True)}
        lines.append({"images": 100 * number - 50, "loss": sum(train) / 3, "loss_by_sigma": named})
        if now is not None:
            found = summary(now)
            by_sigma = {f"{sigma:.4g}": loss for sigma, loss in found.by_sigma.items()}
            lines.append(
                {"images": 100 * number, "validation_loss": found.mean, "validation_loss_by_sigma": by_sigma}
            )
    return lines


FALLING = [[0.9 - 0.05 * k] * 3 for k in range(6)]
# At the middle level the held-out loss rises from the second checkpoint on, at the others it falls.
RISING = [[0.9 - 0.02 * k, loss, 0.8 - 0.02 * k] for k, loss in enumerate((0.5, 0.4, 0.45, 0.5, 0.55))]


def test_a_rise_at_one_level_is_named() -> None:
    trend = held_out_trend(story(RISING[:4], FALLING[:5]), 500, summary(RISING[4]))
    assert trend.rising == ("0.5",)
    assert trend.rise == pytest.approx(0.55 / 0.4 - 1)
    assert not trend.overall
    assert (trend.best_images, trend.best) == (200, pytest.approx((0.88 + 0.4 + 0.78) / 3))
    assert trend.warning is not None
    assert "has risen at sigma 0.5 (by up to 38%)" in trend.warning
    assert "(200 images) is in best/" in trend.warning


@pytest.mark.parametrize("checkpoints", [1, 2, 3, 4])
def test_before_three_checkpoints_after_the_lowest_nothing_is_said(checkpoints: int) -> None:
    before, now = RISING[: checkpoints - 1], RISING[checkpoints - 1]
    trend = held_out_trend(story(before, FALLING[:checkpoints]), 100 * checkpoints, summary(now))
    assert trend.rising == ()
    assert trend.warning is None


def test_a_rise_within_the_standard_error_is_chance() -> None:
    lines = story(RISING[:4], FALLING[:5])
    assert held_out_trend(lines, 500, summary(RISING[4], error=0.16)).rising == ()
    assert held_out_trend(lines, 500, summary(RISING[4], error=0.14)).rising == ("0.5",)


def test_a_loss_that_rises_in_training_too_is_no_overfitting() -> None:
    worse = [[0.5 + 0.05 * k] * 3 for k in range(5)]
    assert held_out_trend(story(RISING[:4], worse), 500, summary(RISING[4])).warning is None


def test_only_what_was_logged_around_a_checkpoint_counts_for_it() -> None:
    """In training the loss rises since the lowest held-out loss, though it was higher before."""
    training = [[loss] * 3 for loss in (0.9, 0.3, 0.35, 0.4, 0.45)]
    assert held_out_trend(story(RISING[:4], training), 500, summary(RISING[4])).warning is None


def test_a_falling_loss_is_no_warning_and_the_last_is_the_best() -> None:
    falling = [[0.9 - 0.1 * k, 0.5 - 0.05 * k, 0.8] for k in range(5)]
    trend = held_out_trend(story(falling[:4], FALLING[:5]), 500, summary(falling[4]))
    assert (trend.rising, trend.overall, trend.best_images) == ((), False, 500)


def test_without_lines_of_the_log_the_held_out_loss_decides() -> None:
    lines = [line for line in story(RISING[:4], FALLING[:5]) if "validation_loss" in line]
    assert held_out_trend(lines, 500, summary(RISING[4])).rising == ("0.5",)


def test_a_rise_everywhere_is_a_rise_of_the_mean() -> None:
    rising = [[0.4 + 0.1 * k] * 3 for k in range(5)]
    trend = held_out_trend(story(rising[:4], FALLING[:5]), 500, summary(rising[4]))
    assert trend.overall
    assert trend.rising == ("0.05", "0.5", "5")
    assert trend.warning is not None
    assert "at sigma 0.05 to 5 " in trend.warning


def test_what_was_written_is_read_back_to_the_bit(tmp_path: Path) -> None:
    """The history of a resumed run comes from the file: nothing may be lost on the way."""
    log = MetricsLog(tmp_path)
    log.write(10, {"validation_loss": 1 / 3, "validation_loss_by_sigma": {0.123456: 2 / 3}})
    assert log.lines() == [{"images": 10, "validation_loss": 1 / 3, "validation_loss_by_sigma": {"0.1235": 2 / 3}}]
    log.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["images"] == 10


def test_standard_errors_of_the_meter() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 7.0, 5.0])
    meter = LossMeter("cpu")
    meter.add(values.reshape(-1, 1, 1), torch.tensor([1.0, 1.0, 1.0, 1.0, 10.0]))
    found = meter.summary()
    assert found.error == pytest.approx((values.std() / 5**0.5).item())
    assert list(found.error_by_sigma.values()) == [pytest.approx((values[:4].std() / 2).item())]


def test_losses_that_are_not_finite_or_zero_are_neither_the_best_nor_a_rise() -> None:
    nan, zero = float("nan"), [0.0, 0.0, 0.0]
    lines = story([[nan] * 3, *RISING[1:4]], FALLING[:5])
    assert held_out_trend(lines, 500, summary(RISING[4])).best_images == 200
    assert held_out_trend(story(RISING[:4], FALLING[:5]), 500, summary([nan] * 3)).best_images == 200
    assert held_out_trend(story(RISING[:4], FALLING[:5]), 500, summary([nan] * 3)).warning is None
    assert held_out_trend(story([zero, *RISING[1:4]], FALLING[:5]), 500, summary(RISING[4])).rising == ()
