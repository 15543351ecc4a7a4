"""What is said about the progress of long work."""

from __future__ import annotations

import pytest

from elucidiff.cli.common import progress
from elucidiff.cli.common.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still: the one entry is the time."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_rate_and_time_left(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("sampling", 100, "images") as bar:
        clock[0] += 40
        bar.advance(20)
    assert capsys.readouterr().err == "sampling: 20/100 images, 0.5 images/s, 160 s left\n"


def test_a_resumed_run_does_not_count_what_was_done_before(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    bar = Progress("training", 1000, "images")
    bar.reach(600, fraction=0.6)
    clock[0] += 50
    bar.reach(700, "loss 0.5", fraction=0.7)
    assert capsys.readouterr().err == "training: 700/1,000 images, 2.0 images/s, 150 s left loss 0.5\n"


def test_the_fraction_rules_where_minutes_end_the_work(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    bar = Progress("training", 1_000_000, "images")
    bar.reach(10, fraction=0.01)
    clock[0] += 90
    bar.reach(100, fraction=0.1)
    assert capsys.readouterr().err == "training: 100/1,000 images, 1.0 images/s, 900 s left\n"


def test_lines_come_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progress("sampling", 100, "images", every_s=30)
    for _ in range(100):
        clock[0] += 1
        bar.advance(1)
    assert len(capsys.readouterr().err.splitlines()) == 3
