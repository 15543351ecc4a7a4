"""Losses by noise level, and a log that survives being cut off."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from elucidiff.training.metrics import LossMeter, MetricsLog


def test_mean_and_bins() -> None:
    meter = LossMeter("cpu")
    sigma = torch.tensor([0.002, 0.01, 0.0101, 1.0, 200.0])
    loss = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]).reshape(5, 1, 1, 1).expand(5, 1, 2, 2)
    meter.add(loss[:2], sigma[:2])
    meter.add(loss[2:], sigma[2:])
    summary = meter.summary()
    assert summary.mean == pytest.approx(31 / 5)
    assert summary.images == 5
    assert list(summary.by_sigma.values()) == pytest.approx([1.0, 3.0, 8.0, 16.0])
    centres = list(summary.by_sigma)
    half = math.log(80 / 0.002) / 16 / 2
    for centre, level in zip(centres, [0.002, 0.01, 1.0, 80.0], strict=True):
        assert abs(math.log(centre / level)) <= half + 1e-6


def test_what_is_not_finite_is_counted_apart() -> None:
    meter = LossMeter("cpu")
    meter.add(torch.tensor([[1.0], [float("nan")], [float("inf")], [3.0]]), torch.ones(4))
    summary = meter.summary()
    assert (summary.mean, summary.images, summary.not_finite) == (2.0, 2, 2)


def test_reset_and_state() -> None:
    meter, other = LossMeter("cpu"), LossMeter("cpu")
    meter.add(torch.rand(8, 1, 2), torch.rand(8) + 0.1)
    other.load_state_dict({name: value.clone() for name, value in meter.state_dict().items()})
    assert other.summary() == meter.summary()
    meter.reset()
    assert meter.summary().images == 0
    assert math.isnan(meter.summary().mean)


def test_log_lines_and_events(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write(100, {"loss": 0.5, "loss_by_sigma": {0.0123456: 0.25}})
    log.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {
        "images": 100,
        "loss": 0.5,
        "loss_by_sigma": {"0.01235": 0.25},
    }
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(100, 0.5)]
    assert events.Scalars("loss_by_sigma/0.01235")[0].value == 0.25


def test_resuming_removes_what_came_after(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for images in (100, 200, 300):
        log.write(images, {"loss": float(images)})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"images": 400, "lo')
    resumed = MetricsLog(tmp_path, images_seen=200)
    resumed.write(250, {"loss": 2.5})
    resumed.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [100, 200, 250]
