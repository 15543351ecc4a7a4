"""Outputs and gradients of the networks against the reference implementation with the same weights."""

from __future__ import annotations

import pytest
import torch

from elucidiff.interop.nvlabs_names import our_order, reference_name
from elucidiff.networks.layers import SelfAttention
from tests.golden_files import cases
from tests.networks.reference import inputs, reference_network

ALL = cases("e_networks")


def tolerance(case, usual, fourier):
    return fourier if case["kwargs"].get("embedding_type") == "fourier" else usual


@pytest.mark.parametrize("name", ALL)
def test_output_in_float32(name):
    case, tensors, network = reference_network(name)
    y = network(*inputs(tensors))
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, tensors["out/y"], rtol=0, atol=tolerance(case, 1e-5, 5e-5))
    if "out/y_no_augment" in tensors:
        y = network(*inputs(tensors)[:3])
        torch.testing.assert_close(y, tensors["out/y_no_augment"], rtol=0, atol=tolerance(case, 1e-5, 5e-5))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ALL)
def test_output_without_gradients(name, memory_format):
    # In inference other kernels and in-place operations are used.
    case, tensors, network = reference_network(name)
    network.to(memory_format=memory_format)
    with torch.inference_mode():
        y = network(*inputs(tensors))
    torch.testing.assert_close(y, tensors["out/y"], rtol=0, atol=tolerance(case, 1e-5, 5e-5))


@pytest.mark.parametrize("name", ALL)
def test_output_and_gradients_in_float64(name):
    case, tensors, network = reference_network(name)
    check_gradients(case, tensors, network.double(), "64", torch.float64, 1e-5)
    with torch.no_grad():
        y = network(*inputs(tensors, torch.float64))
    torch.testing.assert_close(y, tensors["out64/y"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ALL)
def test_gradients_in_float32(name):
    case, tensors, network = reference_network(name)
    check_gradients(case, tensors, network, "", torch.float32, tolerance(case, 1e-4, 5e-4))


def check_gradients(case, tensors, network, suffix, dtype, rel):
    x, *others = inputs(tensors, dtype)
    x.requires_grad_()
    network(x, *others).square().mean().backward()
    ours = {reference_name(name, network): name for name, _ in network.named_parameters()}
    parameters = dict(network.named_parameters())
    heads = {name: layer.heads for name, layer in network.named_modules() if isinstance(layer, SelfAttention)}
    for key, expected in tensors.items():
        kind, _, theirs = key.partition("/")
        if kind != f"grad{suffix}":
            continue
        if theirs == "in_x":
            gradient = x.grad
        else:
            name = ours[theirs]
            gradient = parameters[name].grad
            expected = our_order(name, expected.reshape(gradient.shape), heads.get(name.partition(".qkv.")[0], 1))
        assert (gradient - expected).abs().max() <= rel * expected.abs().max(), theirs
    norms = torch.stack([parameters[ours[theirs]].grad.double().norm() for theirs in case["grad_norm_order"]])
    rel_norms = 1e-4 if dtype == torch.float64 else rel  # recorded in float32
    torch.testing.assert_close(norms, tensors["grad_norms"], rtol=rel_norms, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_number_of_heads(name):
    case, _, network = reference_network(name)
    heads = {
        reference_name(f"{layer}.qkv.weight", network).removesuffix(".qkv.weight"): module.heads
        for layer, module in network.named_modules()
        if isinstance(module, SelfAttention)
    }
    assert heads == case["num_heads"]
