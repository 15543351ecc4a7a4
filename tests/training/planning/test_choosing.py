"""A plan follows from the data, the machine and the time; machines here are made up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from elucidiff.augment import Augment
from elucidiff.networks import MPUNetSettings
from elucidiff.training import TrainingConfig
from elucidiff.training.planning import Findings, Plan, choosing, plan
from elucidiff.training.planning.timing import Speed, speed_of

GARMENTS = Findings(
    data="garments", count=60_000, shape=(1, 28, 28), pictures=True, label_dim=10, classes=True,
    equal=0, hidden=0, sigma_data=0.71, p_mean=-0.0944, p_std=0.89, noise_reason="they say so",
)  # fmt: skip

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Make this machine train a network of ``weights`` at ``speed * (1.7e6 / weights)`` images a second."""

    def make(speed: float, faster_with_batch: float = 1.0, undisturbed: float = 1.0) -> None:
        def speed_of(
            config: TrainingConfig,
            shape: tuple[int, ...],
            label_dim: int,
            device: torch.device,
            condition_shape: tuple[int, ...] = (),
        ) -> Speed:
            with torch.device("meta"):
                network = config.network.build(shape, label_dim=label_dim)
            weights = sum(each.numel() for each in network.parameters())
            gain = faster_with_batch ** math.log2(config.batch_size / 32)
            return Speed(speed * 1.7e6 / weights * gain, weights, undisturbed)

        monkeypatch.setattr(choosing, "speed_of", speed_of)

    return make


def weights(made: Plan) -> int:
    with torch.device("meta"):
        network = made.config.network.build((1, 28, 28), label_dim=10)
    return sum(each.numel() for each in network.parameters())


def chosen(made: Plan, setting: str) -> tuple[str, str]:
    return next((each.value, each.reason) for each in made.choices if each.setting == setting)


def test_the_half_hour_that_the_preset_was_tuned_for(machine: Machine) -> None:
    machine(64.0)  # images a second of the preset's network on 2 idle cores
    made = plan(GARMENTS, minutes=32, device="cpu")
    config = made.config
    assert config.network == MPUNetSettings(24, (1, 2, 4), 1, (7,), dropout=0.0)
    assert (config.batch_size, config.lr, config.lr_gains, config.lr_halvings) == (32, 0.03, 0.1, 4)
    assert config.lr_ramp_images == pytest.approx(5_800, rel=0.02)  # 5% of 0.95 * 32 * 60 * 64 images
    assert (config.objective.p_mean, config.objective.p_std) == (-0.47, 1.0)  # (ln(1.42) - 1.2 - 0.0944) / 2
    assert config.sigma_data == 0.71
    assert (config.max_minutes, config.conditional, config.augment) == (32.0, True, Augment())
    assert made.images == pytest.approx(0.95 * 32 * 60 * 64, rel=0.02)


@pytest.mark.parametrize(("minutes", "channels"), [(5, 16), (32, 24), (120, 32), (600, 48)])
def test_more_time_affords_a_wider_network(machine: Machine, minutes: float, channels: int) -> None:
    machine(64.0)
    assert plan(GARMENTS, minutes=minutes, device="cpu").config.network.base_channels == channels


def test_no_more_weights_than_the_data_have_numbers(machine: Machine) -> None:
    machine(10_000.0)
    few = replace(GARMENTS, count=1_500)  # 1.2 million numbers
    made = plan(few, minutes=600, device="cpu")
    assert made.config.network.base_channels == 16  # 0.77 million
    assert "more weights than the data have numbers (1.2 million)" in chosen(made, "network")[1]


@pytest.mark.parametrize("minutes", [0.05, 5, 240])
def test_the_ramp_is_never_longer_than_the_run(machine: Machine, minutes: float) -> None:
    machine(64.0)
    made = plan(GARMENTS, minutes=minutes, device="cpu")
    assert made.config.lr_ramp_images <= max(0.05 * made.images + 32, 32)


def test_batches_grow_where_that_is_faster_and_steps_are_left(machine: Machine) -> None:
    machine(10_000.0, faster_with_batch=1.9)
    config = plan(GARMENTS, minutes=60, device="cpu").config
    assert config.batch_size == 256
    machine(10_000.0, faster_with_batch=1.2)
    assert plan(GARMENTS, minutes=60, device="cpu").config.batch_size == 32
    machine(8.0, faster_with_batch=1.9)  # 60,000 images: 64 a step leave 900 steps
    assert plan(GARMENTS, minutes=30, device="cpu").config.batch_size == 32


def test_processes_share_batches_evenly_and_add_up(machine: Machine) -> None:
    machine(64.0)
    alone, three = (plan(GARMENTS, minutes=30, device="cpu", processes=count) for count in (1, 3))
    assert three.config.batch_size == 33
    # What they do together is 0.9 times 3 times what one does, and goes into a larger network.
    assert three.images_per_second * weights(three) == pytest.approx(2.7 * alone.images_per_second * weights(alone))
    assert weights(three) > weights(alone)


@pytest.mark.parametrize(
    ("count", "speed", "pictures", "on"),
    [
        (1_000, 200.0, True, True),
        (1_000, 2.0, True, False),
        (60_000, 200.0, True, False),
        (1_000, 200.0, False, False),
    ],
)
def test_augmentation_is_for_few_pictures_that_are_seen_often(
    machine: Machine, count: int, speed: float, pictures: bool, on: bool
) -> None:
    machine(speed)
    made = plan(replace(GARMENTS, count=count, pictures=pictures), minutes=60, device="cpu")
    assert made.config.augment == (Augment.paper(0.12) if on else Augment())


def test_other_work_on_the_machine_counts(machine: Machine) -> None:
    machine(64.0, undisturbed=0.25)
    made = plan(GARMENTS, minutes=30, device="cpu")
    assert made.config.network.base_channels == 16
    assert "beside other work that leaves 25% of the machine" in chosen(made, "length")[1]


def test_checks_and_previews_cost_little_and_begin_early(machine: Machine) -> None:
    machine(64.0)
    for minutes in (5, 240):
        made = plan(GARMENTS, minutes=minutes, device="cpu")
        config = made.config
        forward = 3 * made.images_per_second  # of evaluations a second
        checks = made.images / config.checkpoint_images
        cost = checks * (4 * config.validation_images + 15 * config.memorisation_samples) / forward
        assert cost < 0.07 * 60 * minutes
        assert config.preview_images is not None
        assert config.preview_images / made.images_per_second <= 60


def test_sixty_pictures_are_told_what_they_allow(machine: Machine) -> None:
    machine(64.0)
    photographs = replace(GARMENTS, count=60, shape=(3, 64, 64), label_dim=0, classes=False)
    made = plan(photographs, minutes=240, device="cpu")
    assert not made.config.conditional
    assert made.config.validation_images == 6
    assert made.config.augment == Augment.paper(0.12)
    assert made.notes[0].startswith("60 pictures are too few")
    assert made.config.duration_images <= 5_000 * 54


def test_pictures_that_are_too_large_for_the_time(machine: Machine) -> None:
    machine(0.5)
    large = replace(GARMENTS, shape=(3, 256, 256), smaller="elucidiff data import x data/x --resize 64")
    with pytest.raises(ValueError, match=r"--resize 64`.*or give more --minutes"):
        plan(large, minutes=30, device="cpu")


@pytest.mark.parametrize("minutes", [0, -1, math.inf, math.nan])
def test_time_must_be_positive(minutes: float) -> None:
    with pytest.raises(ValueError, match="--minutes is"):
        plan(GARMENTS, minutes=minutes, device="cpu")


def test_timed_steps_leave_the_generators_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    config = TrainingConfig(network=MPUNetSettings(8, (1,), 1, ()), batch_size=4, device="cpu")
    speed = speed_of(config, (1, 8, 8), 0, torch.device("cpu"))
    assert torch.equal(torch.rand(4), expected)
    assert speed.images_per_second > 0
    assert 0 < speed.undisturbed <= 1
    with torch.device("meta"):
        network = config.network.build((1, 8, 8))
    assert speed.weights == sum(each.numel() for each in network.parameters())


def test_settings_are_read_back(machine: Machine, tmp_path: Path) -> None:
    machine(64.0)
    config = plan(GARMENTS, minutes=30, device="cpu").config
    config.save(tmp_path / "config.yaml")
    assert TrainingConfig.load(tmp_path / "config.yaml") == config
    assert TrainingConfig.from_yaml(config.to_yaml()) == config
