"""Networks folded for inference: the same function to the bit, from weights that are computed once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from elucidiff.networks.folding import folded
from elucidiff.networks.magnitude_preserving import FoldedLayer, UnitLayer
from tests.networks.small import random, small_network


@pytest.mark.parametrize("shape", [(2, 16), (2, 8, 8), (2, 4, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_same_function(shape, dtype):
    network = small_network("mp-unet", shape, label_dim=3).to(dtype)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    made = folded(network)
    x, labels = random(4, *shape).to(dtype), torch.eye(3, dtype=dtype)[[0, 2, 1, 1]]
    noise_labels = torch.linspace(-1, 1, 4, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(made(x, noise_labels, labels), network(x, noise_labels, labels))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(isinstance(layer, FoldedLayer) for layer in network.modules())
    unit = [layer for layer in made.modules() if isinstance(layer, UnitLayer)]
    assert len(unit) > 10
    assert all(isinstance(layer, FoldedLayer) for layer in unit)


def test_weights_are_computed_once(monkeypatch):
    made = folded(small_network("mp-unet", (2, 8, 8)))

    def fail(*_, **__):
        raise AssertionError("a norm was computed")

    monkeypatch.setattr(torch.linalg, "vector_norm", fail)
    with torch.no_grad():
        made(random(2, 2, 8, 8), torch.zeros(2, dtype=torch.float64))
    with pytest.raises(AssertionError, match="a norm was computed"):
        small_network("mp-unet", (2, 8, 8))


def test_what_has_none_of_these_layers_is_a_copy_in_evaluation_mode():
    network = small_network("ddpmpp", (2, 8, 8), dropout=0.5).train()
    made = folded(network)
    assert network.training
    assert not made.training
    assert not any(parameter.requires_grad for parameter in made.parameters())
    x, noise_labels = random(2, 2, 8, 8), torch.zeros(2, dtype=torch.float64)
    assert torch.equal(made(x, noise_labels), network.eval()(x, noise_labels))
    with torch.no_grad():
        next(iter(network.parameters())).add_(1)
    assert not torch.equal(made(x, noise_labels), network(x, noise_labels))


def test_a_layer_by_itself():
    layer = UnitLayer(3, 4, gain=0.7)
    made = folded(nn.Sequential(layer))
    assert torch.equal(made[0].weight, layer.unit_weight())
    assert made[0].weight.norm(dim=1).sub(0.7).abs().max() < 1e-6
    assert torch.equal(folded(layer).weight, layer.unit_weight())
