"""A run whose loss explodes goes back and on with half the learning rate."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import elucidiff as ed
from elucidiff.training import TrainingConfig, train
from elucidiff.training.learning_rate import LearningRateSchedule


@ed.part("learning rate schedule", "leap_of_a_test")
@dataclass(frozen=True)
class Leap(LearningRateSchedule):
    """From 256 images on, a rate 500 times as high, at which Adam moves weights by half their magnitude."""

    def decay(self, rate: float, images_seen: int, progress: float) -> float:
        return rate * (500 if progress > 256 / 448 else 1)


def config(**settings: Any) -> TrainingConfig:
    defaults = {
        "network": ed.parts.parse("network", "ddpmpp:base_channels=8,channel_multipliers=1,blocks_per_level=1"),
        "batch_size": 8, "duration_images": 448, "lr": 1e-3, "lr_ramp_images": 0.0, "lr_decay": Leap(),
        "ema_half_life_images": 32.0, "memorisation_samples": 0, "log_images": 32, "checkpoint_images": 64,
        "compile": "off", "device": "cpu", "lr_halvings": 12,
    }  # fmt: skip
    return TrainingConfig(**(defaults | settings))


@pytest.fixture(scope="module")
def digits() -> ed.data.Dataset:
    return ed.data.open("digits")


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits: ed.data.Dataset) -> Path:
    run = tmp_path_factory.mktemp("explosion") / "run"
    with pytest.warns(UserWarning, match=r"the loss has grown from .* the run goes on from 256 images with half the"):
        train(config(), run, dataset=digits)
    return run


def test_it_ends_with_a_rate_at_which_the_loss_stays_low(whole: Path) -> None:
    logged = lines(whole)
    assert [line["images"] for line in logged] == list(range(32, 449, 32))
    losses = [line["loss"] for line in logged]
    assert all(loss <= 4 * min(losses[:place]) for place, loss in enumerate(losses) if place)
    halvings = [math.log2((0.5 if line["images"] > 256 else 1e-3) / line["lr"]) for line in logged]
    assert halvings == sorted(halvings)
    assert halvings[0] == 0 < halvings[-1] <= 12
    assert all(count == round(count) for count in halvings)


@pytest.mark.slow
def test_stopped_and_resumed_it_is_the_same_run(tmp_path: Path, whole: Path, digits: ed.data.Dataset) -> None:
    class Stop(Exception):
        pass

    class Stopper(ed.training.Callbacks):
        def on_checkpoint(self, model: Any, images_seen: int, run_dir: Path) -> None:
            if images_seen >= 192:
                raise Stop

    with pytest.raises(Stop):
        train(config(), tmp_path / "run", dataset=digits, callbacks=Stopper())
    train(config(), tmp_path / "run", dataset=digits, resume=True)
    timeless = [
        [{**line, "seconds": 0, "images_per_second": 0} for line in lines(run)] for run in (whole, tmp_path / "run")
    ]
    assert timeless[0] == timeless[1]
    model = Path("model") / "model.safetensors"
    assert (whole / model).read_bytes() == (tmp_path / "run" / model).read_bytes()


@pytest.mark.filterwarnings("ignore:the loss has grown")
def test_it_gives_up_after_as_many_halvings_as_it_may_make(tmp_path: Path, digits: ed.data.Dataset) -> None:
    with pytest.raises(ValueError, match=r"the loss has grown from .* with 1 halvings .* lower lr than 0.001"):
        train(config(lr_halvings=1), tmp_path / "run", dataset=digits)


def test_without_leave_it_goes_on(tmp_path: Path, digits: ed.data.Dataset) -> None:
    result = train(config(lr_halvings=0, duration_images=192), tmp_path / "run", dataset=digits)
    assert result.images_seen == 192
    assert [line["lr"] for line in lines(tmp_path / "run")] == [1e-3] * 3 + [0.5] * 3
