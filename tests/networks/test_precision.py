"""Half precision, automatic casting, and tensors without memory."""

from __future__ import annotations

import pytest
import torch

from tests.networks.reference import inputs, reference_network
from tests.networks.small import random, small_network

NAMES = ["ddpmpp_b", "ncsnpp_a", "skip_a", "adm_a"]


def relative_error(y, expected):
    y, expected = y.detach().double(), expected.double()
    return float((y - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.004)])
def test_half_precision_weights(name, dtype, tolerance):
    # bfloat16 has a relative rounding error of 0.004, float16 of 0.0005; some forty layers follow each other.
    _, tensors, network = reference_network(name)
    network.to(dtype)
    with torch.no_grad():
        y = network(*inputs(tensors))
    assert y.dtype == dtype
    assert relative_error(y, tensors["out/y"]) < tolerance


@pytest.mark.parametrize("name", NAMES)
def test_autocast(name):
    _, tensors, network = reference_network(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = network(*inputs(tensors))
        y.float().square().mean().backward()
    assert relative_error(y, tensors["out/y"]) < 0.03
    gradient = network.stem.weight.grad
    assert gradient.dtype == torch.float32
    assert relative_error(gradient, tensors[f"grad/enc.{'x'.join(map(str, y.shape[2:]))}_conv.weight"]) < 0.06


def test_fourier_frequencies_survive_half_precision():
    _, _, network = reference_network("ncsnpp_a")
    exact = network.noise_features.frequencies.clone()
    network.half()
    assert network.stem.weight.dtype == torch.float16
    assert torch.equal(network.noise_features.frequencies, exact)
    network.double()
    assert network.noise_features.frequencies.dtype == torch.float64
    network.bfloat16().float()
    assert torch.equal(network.noise_features.frequencies.float(), exact)


@pytest.mark.parametrize("kind", ["ddpmpp", "ncsnpp", "skip", "adm", "mp-unet"])
def test_on_the_meta_device(kind):
    blueprint = small_network(kind, (3, 8, 8)).blueprint
    with torch.device("meta"):
        network = blueprint.build()
        y = network(torch.empty(2, 3, 16, 8), torch.empty(2))
    assert all(value.is_meta for value in network.state_dict().values())
    assert y.is_meta
    assert y.shape == (2, 3, 16, 8)
    weights = {name: torch.zeros(value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict(weights, assign=True)
    assert torch.equal(network(torch.ones(1, 3, 8, 8), torch.ones(1)), torch.zeros(1, 3, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddpmpp", "ncsnpp", "adm", "mp-unet"])
def test_one_graph_without_breaks(kind):
    network = small_network(kind, (3, 8, 8), label_dim=2)
    arguments = random(2, 3, 8, 8), random(2), random(2, 2)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*arguments), network(*arguments), rtol=0, atol=1e-12)
