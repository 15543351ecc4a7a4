"""The paper's average: golden tables and update chain, and what the half-life means."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from elucidiff.training.ema import HalfLife, WeightAverage, ema_beta
from tests.golden_files import load

CASE, GOLDEN = load("h_ema/tables")


@pytest.mark.parametrize("index", range(len(CASE["ema"])))
def test_beta_is_the_reference_table(index: int) -> None:
    settings = CASE["ema"][index]
    for images_seen, beta in zip(GOLDEN[f"ema_{index}/nimg"], GOLDEN[f"ema_{index}/beta"], strict=True):
        half_life = 1000 * settings["ema_halflife_kimg"]
        ours = ema_beta(int(images_seen), settings["batch_size"], half_life, settings["ema_rampup_ratio"])
        assert ours == pytest.approx(float(beta), rel=1e-12, abs=1e-300)


def test_update_chain_is_the_reference() -> None:
    settings = CASE["update"]
    network = _one_parameter(GOLDEN["update/param_0"])
    average = WeightAverage(network, HalfLife(1000 * settings["ema_halflife_kimg"], settings["ema_rampup_ratio"]))
    assert torch.equal(average.network.weight, GOLDEN["update/ema_0"])
    for step in range(settings["steps"]):
        with torch.no_grad():
            network.weight.copy_(GOLDEN["update/params"][step])
        average.update(int(GOLDEN["update/nimg"][step]), settings["batch_size"])
        assert average.beta == pytest.approx(float(GOLDEN["update/beta"][step]), rel=1e-12)
        torch.testing.assert_close(average.network.weight.data, GOLDEN["update/emas"][step], rtol=1e-6, atol=1e-6)


def test_half_of_a_weight_is_forgotten_in_a_half_life() -> None:
    network = _one_parameter(torch.ones(1, dtype=torch.float64))
    average = WeightAverage(network, HalfLife(100.0, rampup_ratio=None))
    with torch.no_grad():
        network.weight.zero_()
    for step in range(10):
        average.update(10 * step, 10)
    assert average.network.weight.item() == pytest.approx(0.5, rel=1e-12)


def test_first_update_forgets_the_start() -> None:
    assert ema_beta(0, 512, 500e3, 0.05) == 0.0
    network = _one_parameter(torch.tensor([1e8]))
    average = WeightAverage(network, HalfLife(500e3))
    with torch.no_grad():
        network.weight.fill_(0.1)
    average.update(0, 512)
    assert torch.equal(average.network.weight, network.weight)


def test_buffers_are_taken_as_they_are() -> None:
    network = nn.BatchNorm1d(2)
    average = WeightAverage(network, HalfLife(1.0, None))
    network.running_mean = torch.full((2,), 7.0)
    average.update(1000, 1000)
    assert torch.equal(average.network.running_mean, torch.full((2,), 7.0))


def _one_parameter(value: torch.Tensor) -> nn.Module:
    module = nn.Module()
    module.weight = nn.Parameter(value.clone())
    return module
