"""Networks from their settings."""

from __future__ import annotations

import json

import pytest
import torch

from elucidiff import networks
from tests.networks.small import COMMON, random, small_network


@pytest.mark.parametrize("kind", ["ddpmpp", "ncsnpp", "skip", "adm", "mp-unet"])
def test_config_rebuilds_the_network(kind):
    network = small_network(kind, (3, 8, 16), out_channels=6, label_dim=4, augment_dim=2, label_dropout=0.1)
    assert (network.sample_shape, network.in_channels, network.out_channels) == ((3, 8, 16), 3, 6)
    assert (network.label_dim, network.augment_dim) == (4, 2)
    again = networks.build(json.loads(json.dumps(network.config))).double().eval()
    assert type(again) is type(network)
    assert again.config == network.config
    again.load_state_dict(network.state_dict())
    arguments = random(2, 3, 8, 16), random(2), random(2, 4), random(2, 2)
    with torch.no_grad():
        assert torch.equal(again(*arguments), network(*arguments))


def test_presets_differ_as_in_the_paper():
    ddpmpp, ncsnpp = networks.UNet.ddpmpp((3, 8, 8), **COMMON), networks.UNet.ncsnpp((3, 8, 8), **COMMON)
    different = {name: value for name, value in ncsnpp.config.items() if ddpmpp.config[name] != value}
    assert different == {
        "embedding": "fourier",
        "noise_multiplier": 2,
        "encoder": "residual",
        "resample_filter": [1, 3, 3, 1],
    }
    assert networks.UNet.ncsnpp((3, 8, 8), encoder="standard", **COMMON).config["encoder"] == "standard"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "resnet"}, "network type 'resnet' is unknown: choose one of unet, adm, edm2, mp-unet"),
        ({"type": None}, "network type None is unknown"),
        ({"width": 3}, "do not describe a network of type 'unet': .*width"),
        ({"sample_shape": (3,)}, "sample_shape .* is not"),
        ({"sample_shape": (3, 0, 8)}, "sample_shape .* is not"),
        ({"sample_shape": (3, 8, 8, 8, 8)}, "sample_shape .* is not"),
        ({"sample_shape": (3, 8, 9)}, "size 8x9 does not fit 2 levels: pad or crop every side to a multiple of 2"),
        ({"channel_multipliers": ()}, "channel_multipliers .* positive"),
        ({"channel_multipliers": (1, 0)}, "channel_multipliers .* positive"),
        ({"base_channels": 0}, "base_channels must be at least 1, not 0"),
        ({"base_channels": 7}, "must be even and at least 4, but is 7"),
        ({"blocks_per_level": -1}, "blocks_per_level must not be negative"),
        ({"dropout": 1.5}, r"dropout is a probability, but 1.5 is not in \[0, 1\]"),
        ({"label_dropout": float("nan")}, "label_dropout is a probability"),
        ({"label_dim": -1}, "label_dim must not be negative"),
        ({"embedding": "learned"}, "embedding 'learned' is unknown: choose one of positional, fourier"),
        ({"encoder": "none"}, "encoder 'none' is unknown"),
        ({"decoder": "residual"}, "decoder 'residual' is unknown"),
        ({"resample_filter": (1, 2, 1)}, "needs an even number of taps"),
    ],
)
def test_settings_that_cannot_be(change, message):
    config = {**networks.UNet.ddpmpp((3, 8, 8), **COMMON).config, **change}
    with pytest.raises(ValueError, match=message) as error:
        networks.build(config)
    assert "\n" not in str(error.value)


def test_adm_heads_must_divide_the_channels():
    settings = {**COMMON, "base_channels": 200, "attention_resolutions": (8,)}
    with pytest.raises(ValueError, match="3 attention heads do not divide 200 channels"):
        networks.ADM((3, 8, 8), **settings)
    with pytest.raises(ValueError, match="base_channels must be even, but is 7"):
        networks.ADM((3, 8, 8), **{**COMMON, "base_channels": 7})
