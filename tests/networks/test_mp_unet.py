"""The magnitude-preserving U-Net: what it returns at first, what passes through it, how it is kept and averaged."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from elucidiff import networks
from elucidiff.denoisers.model_folder import load
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning
from elucidiff.networks.layers import SelfAttention
from elucidiff.networks.magnitude_preserving import UnitLayer, unit_magnitude
from elucidiff.networks.mp_unet import CosineAttention, MPUNetBlock
from elucidiff.training.ema import HalfLife, WeightAverage
from tests.networks.small import COMMON, random, small_network
from tests.networks.test_magnitude_preserving import magnitude


def mp_unet(sample_shape, seed=0, **settings):
    """A network as it starts, but in float64."""
    defaults = {
        "base_channels": 16,
        "channel_multipliers": (1, 2),
        "blocks_per_level": 1,
        "attention_resolutions": (max(sample_shape[1:]) // 2,),
    }
    torch.manual_seed(seed)
    return networks.MPUNet(sample_shape, **defaults | settings).double()


def inputs(count=2, labels=0):
    rows = torch.eye(labels, dtype=torch.float64)[torch.arange(count) % labels] if labels else None
    return random(count, 3, 16, 16), random(count, seed=2), rows


def test_the_output_starts_at_zero_and_then_learns():
    network = mp_unet((3, 16, 16), label_dim=4, augment_dim=2)
    arguments = (*inputs(labels=4), random(2, 2, seed=3))
    y = network(*arguments)
    assert torch.equal(y, torch.zeros_like(y))
    (y * random(*y.shape)).sum().backward()
    moving = {name for name, parameter in network.named_parameters() if parameter.grad.abs().max() > 0}
    assert moving == {"head_gain"}
    with torch.no_grad():
        network.head_gain.fill_(1.0)
        for name, parameter in network.named_parameters():
            if name.endswith("_gain"):
                parameter.fill_(0.5)
    network.zero_grad()
    network(*arguments).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_magnitudes_throughout():
    """Every block's output has magnitude 1 within a few per cent, at the start and with random modulation."""
    network = mp_unet((3, 16, 16), base_channels=48, label_dim=10, channel_multipliers=(1, 2), blocks_per_level=2)
    seen = {}
    for name, module in network.named_modules():
        if isinstance(module, MPUNetBlock) or name in ("stem", "head", "embed_noise", "embed_labels"):
            module.register_forward_hook(lambda _, __, y, name=name: seen.update({name: magnitude(y)}))
    x = random(16, 3, 16, 16)
    rows = torch.eye(10, dtype=torch.float64)[torch.arange(16) % 10]
    with torch.no_grad():
        embedding = network.embed(random(4000), torch.eye(10, dtype=torch.float64).repeat(400, 1), None)
        assert magnitude(embedding) == pytest.approx(1.0, abs=0.05)
        seen.clear()
        network(x, random(16, seed=5), rows)
    assert seen.pop("embed_labels") == pytest.approx(1.0, abs=0.1)
    assert seen.pop("embed_noise") == pytest.approx(1.0, abs=0.15)
    assert len(seen) == 2 + 2 * 2 + 1 + 2 + 2 * 3 + 1
    # What is lost, a tenth on average, is lost to zeros outside of maps of 16x16 and 8x8 and to averages of values.
    assert sum(seen.values()) / len(seen) == pytest.approx(0.93, abs=0.05)
    assert min(seen.values()) > 0.7, seen
    assert max(seen.values()) < 1.05, seen


def test_noise_features_have_magnitude_1_at_every_noise_level():
    network = mp_unet((3, 16, 16))
    features = network.noise_features(random(50) * 10) * math.sqrt(2)
    torch.testing.assert_close(features.square().mean(1), torch.ones(50, dtype=torch.float64), rtol=1e-12, atol=0)


def test_a_constant_channel_takes_the_place_of_biases():
    network = small_network("mp-unet", (3, 8, 8))
    with torch.no_grad():
        y = network(torch.zeros(1, 3, 8, 8), torch.zeros(1))
    assert y.std() > 0.01
    assert not [name for name, _ in network.named_parameters() if "bias" in name]


def unit(layer, x):
    """What a layer without a gain would return."""
    return layer(x) / layer.gain


@pytest.mark.parametrize(("encoder", "resample"), [(True, None), (True, "down"), (False, None), (False, "up")])
@pytest.mark.parametrize("out_channels", [6, 4])
def test_block_by_definition(encoder, resample, out_channels):
    """The paper's block, step by step, without anything folded into weights."""
    torch.manual_seed(0)
    block = MPUNetBlock(2, 5, 0.0, encoder, 4, out_channels, resample=resample).double()
    with torch.no_grad():
        block.embed_gain.fill_(0.7)
    x, embedding = random(2, 4, 8, 8), random(2, 5, seed=2)

    def mp_silu(x):
        return nn.functional.silu(x) / 0.596

    expected = x
    if resample == "down":
        expected = nn.functional.avg_pool2d(x, 2)
    elif resample == "up":
        expected = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    skip = block.skip if block.skip is not None else nn.Identity()
    if encoder:
        expected = skip(expected)
        expected = expected / (expected.square().mean(1, keepdim=True) + 1e-4).sqrt()
    branch = unit(block.conv1, mp_silu(expected)) * (1 + 0.7 * block.embed(embedding))[:, :, None, None]
    branch = unit(block.conv2, mp_silu(branch))
    if not encoder:
        expected = skip(expected)
    expected = (0.7 * expected + 0.3 * branch) / math.sqrt(0.7**2 + 0.3**2)
    torch.testing.assert_close(block(x, embedding), expected, rtol=0, atol=1e-12)


def test_attention_by_definition():
    torch.manual_seed(0)
    attention = CosineAttention(128).double()
    assert attention.heads == 2
    x = random(2, 128, 3, 4)
    tokens = x.flatten(2).transpose(1, 2)
    q, k, v = (part.unflatten(2, (2, 64)) for part in attention.qkv(tokens).chunk(3, dim=2))
    q, k, v = (unit_magnitude(part, -1) for part in (q, k, v))
    logits = torch.einsum("bihc,bjhc->bhij", q, k) / 8
    assert logits.abs().max() <= 8, "a cosine times sqrt(64)"
    mixed = torch.einsum("bhij,bjhc->bihc", logits.softmax(-1), v).flatten(2)
    branch = unit(attention.out, mixed).transpose(1, 2).reshape(x.shape)
    expected = (0.7 * x + 0.3 * branch) / math.sqrt(0.58)
    torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("channels", "heads"), [(8, 1), (64, 1), (96, 1), (128, 2), (200, 2), (201, 3), (320, 5)])
def test_heads(channels, heads):
    assert CosineAttention(channels).heads == heads


def test_attention_is_where_it_is_in_adm():
    ours = networks.MPUNet((1, 16, 16), base_channels=64, channel_multipliers=(1, 1), attention_resolutions=(8,))
    adm = networks.ADM((1, 16, 16), base_channels=64, channel_multipliers=(1, 1), attention_resolutions=(8,))
    assert [name for name, module in ours.named_modules() if isinstance(module, CosineAttention)] == [
        name for name, module in adm.named_modules() if isinstance(module, SelfAttention)
    ]


def test_augmentation_labels_wait_for_their_gain():
    network = mp_unet((3, 16, 16), augment_dim=2)
    x, noise, _ = inputs()
    with torch.no_grad():
        for block in (module for module in network.modules() if isinstance(module, MPUNetBlock)):
            block.embed_gain.fill_(1.0)
        network.head_gain.fill_(1.0)
        none, some = network(x, noise), network(x, noise, None, random(2, 2))
        assert torch.equal(none, some)
        network.augment_gain.fill_(1.0)
        assert torch.equal(network(x, noise, None, torch.zeros(2, 2)), none)
        assert (network(x, noise, None, random(2, 2)) - none).abs().max() > 1e-3


def test_model_folder_keeps_every_bit(tmp_path: Path):
    settings = {**COMMON, "attention_resolutions": (8,), "label_dim": 4}
    network = networks.MPUNet((3, 16, 16), **settings)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.8 if parameter.ndim == 1 else 0.0)  # open all gains
            parameter.mul_(1 + 0.1 * torch.rand(()))  # as averages have it: not of magnitude 1
    denoiser = Denoiser(network, preconditioning.EDM(sigma_data=0.7)).eval()
    denoiser.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert type(again.network) is networks.MPUNet
    x, sigma, labels = random(2, 3, 16, 16).float(), torch.tensor([0.1, 5.0]), torch.tensor([3, 1])
    assert torch.equal(again(x, sigma, labels), denoiser(x, sigma, labels))
    assert (again(x, sigma, labels) - denoiser(x, sigma)).abs().max() > 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.004)])
def test_half_precision(dtype, tolerance):
    network = small_network("mp-unet", (3, 8, 8), label_dim=2)
    arguments = random(2, 3, 8, 8), random(2), random(2, 2)
    with torch.no_grad():
        expected = network(*arguments)
        y = network.to(dtype)(*(argument.to(dtype) for argument in arguments))
    assert y.dtype == dtype
    assert (y.double() - expected).norm() < tolerance * expected.norm()


def test_autocast_normalises_weights_in_float32():
    network = small_network("mp-unet", (3, 8, 8)).float()
    arguments = random(2, 3, 8, 8).float(), random(2).float()
    expected = network(*arguments).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight = network.stem.unit_weight()
        y = network(*arguments)
        y.float().square().mean().backward()
    assert weight.dtype == torch.float32
    assert (weight.flatten(1).norm(dim=1) - 1).abs().max() < 1e-6
    assert 0 < (y.float() - expected).norm() < 0.03 * expected.norm()
    for name, parameter in network.named_parameters():
        along = (parameter.grad * parameter).flatten(1).sum(1) if parameter.ndim > 1 else torch.zeros(1)
        assert along.abs().max() < 1e-3 * (1e-3 + (parameter.grad.norm() * parameter.norm()).detach()), name


def test_layout_in_memory_does_not_matter():
    network = small_network("mp-unet", (3, 8, 8))
    x, noise = random(2, 3, 8, 8), random(2)
    with torch.no_grad():
        expected = network(x, noise)
        y = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), noise)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_averaged_weights_are_used_normalised():
    """Two weights at a right angle average to one of length 1/sqrt(2), which acts as if it had length 1."""
    network = nn.Sequential(UnitLayer(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[2**0.5, 0.0]]))
    average = WeightAverage(network, HalfLife(4.0, None))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[0.0, 2**0.5]]))
    average.update(4, 4)  # a half-life: half of each
    torch.testing.assert_close(average.network[0].weight, torch.full((1, 2), 0.5**0.5))
    torch.testing.assert_close(average.network(torch.eye(2)), torch.full((2, 1), 0.5**0.5))


def test_odd_channels_are_refused():
    with pytest.raises(ValueError, match="base_channels must be even, but is 7"):
        networks.MPUNet((3, 8, 8), base_channels=7)
