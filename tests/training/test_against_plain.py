"""The training loop against the straightforward one of the benchmarks: the same losses, given the same draws."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.training_throughput import Sides, comparable, largest_difference
from elucidiff.training import preset
from elucidiff.training.batches import TrainingData
from elucidiff.training.config import TrainingConfig


def sides(config: TrainingConfig) -> Sides:
    config = dataclasses.replace(comparable(config, 32), lr_ramp_images=640.0)
    return Sides(config, TrainingData.open(config))


def test_a_few_steps_are_equal_but_for_rounding() -> None:
    """Losses before each update, and the gradients of the last."""
    both = sides(preset("digits"))
    ours, plain = both.losses(4)
    assert largest_difference(ours, plain) < 1e-5
    weights = dict(both.state.denoiser.network.named_parameters())
    for name, theirs in both.plain.parameters.items():
        gradient = weights[name].grad
        assert gradient is not None
        assert theirs.grad is not None
        assert (gradient - theirs.grad).norm() <= 1e-3 * theirs.grad.norm() + 1e-6, name


@pytest.mark.slow
def test_loss_curve_of_200_steps() -> None:
    """Within 1e-3 of the loss, at every step; the benchmark does the same with the fashion-mnist network."""
    config = preset("digits")
    small = dataclasses.replace(config.network, base_channels=16)
    ours, plain = sides(dataclasses.replace(config, network=small)).losses(200)
    assert largest_difference(ours, plain) < 1e-3
    assert plain[-50:].mean() < 0.7 * plain[:20].mean(), "something was learnt"
