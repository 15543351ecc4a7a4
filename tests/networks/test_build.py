"""Networks from their settings."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from elucidiff import networks, parts
from tests.networks.small import COMMON, random, small_network


@pytest.mark.parametrize("kind", ["ddpmpp", "ncsnpp", "skip", "adm", "mp-unet"])
def test_the_blueprint_rebuilds_the_network(kind):
    network = small_network(kind, (3, 8, 16), out_channels=6, label_dim=4, augment_dim=2, label_dropout=0.1)
    assert (network.sample_shape, network.in_channels, network.out_channels) == ((3, 8, 16), 3, 6)
    assert (network.label_dim, network.augment_dim) == (4, 2)
    plain = json.loads(json.dumps(network.blueprint.to_plain()))
    again = networks.Blueprint.from_plain(plain).build().double().eval()
    assert type(again) is type(network)
    assert again.blueprint == network.blueprint == networks.blueprint_of(network)
    assert parts.parse("network", parts.to_text(network.settings)) == network.settings
    again.load_state_dict(network.state_dict())
    arguments = random(2, 3, 8, 16), random(2), random(2, 4), random(2, 2)
    with torch.no_grad():
        assert torch.equal(again(*arguments), network(*arguments))


def test_presets_differ_as_in_the_paper():
    ddpmpp, ncsnpp = networks.UNet.ddpmpp((3, 8, 8), **COMMON), networks.UNet.ncsnpp((3, 8, 8), **COMMON)
    ours, theirs = (dataclasses.asdict(each.settings) for each in (ddpmpp, ncsnpp))
    assert {name: value for name, value in theirs.items() if ours[name] != value} == {
        "embedding": "fourier",
        "noise_multiplier": 2,
        "encoder": "residual",
        "resample_filter": (1, 3, 3, 1),
    }
    assert networks.UNet.ncsnpp((3, 8, 8), encoder="standard", **COMMON).settings.encoder == "standard"


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("ddpmpp", networks.UNet),
        ("ncsnpp", networks.UNet),
        ("adm", networks.ADM),
        ("edm2", networks.EDM2),
        ("mp_unet", networks.MPUNet),
    ],
)
def test_every_way_to_build_gives_the_same_weights(name, network):
    settings = parts.from_plain("network", {"type": name, "base_channels": 8, "channel_multipliers": [1, 2]})
    text = f"{name}:base_channels=8,channel_multipliers=1/2"
    built = []
    for make in (
        lambda: networks.build(text, (3, 8, 8), label_dim=2),
        lambda: settings.build((3, 8, 8), label_dim=2),
        lambda: network((3, 8, 8), settings, label_dim=2),
    ):
        torch.manual_seed(0)
        built.append(make())
    assert {type(each) for each in built} == {network}
    first = built[0].state_dict()
    for each in built:
        assert each.blueprint == networks.Blueprint(settings, (3, 8, 8), 2, 0)
        assert all(torch.equal(value, first[key]) for key, value in each.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "resnet"}, r"there is no network 'resnet'; .*adm.* \(.*--plugin MODULE\)"),
        ({"type": None}, "does not describe a network: it has no type"),
        ({"width": 3}, "network ddpmpp has no setting 'width'"),
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
        ({"label_dropout": float("nan")}, "label_dropout is out of range: nan"),
        ({"label_dropout": 1.5}, "label_dropout is a probability"),
        ({"label_dim": -1}, "label_dim must not be negative"),
        ({"embedding": "learned"}, "embedding of .* is 'learned', but must be one of positional, fourier"),
        ({"encoder": "none"}, "encoder of .* is 'none', but must be one of"),
        ({"decoder": "residual"}, "decoder of .* is 'residual', but must be one of"),
        ({"resample_filter": (1, 2, 1)}, "needs an even number of taps"),
    ],
)
def test_settings_that_cannot_be(change, message):
    plain = networks.UNet.ddpmpp((3, 8, 8), **COMMON).blueprint.to_plain()
    shapes = {name: value for name, value in change.items() if name in plain}
    plain |= {**shapes, "part": {**plain["part"], **{k: v for k, v in change.items() if k not in shapes}}}
    with pytest.raises(ValueError, match=message) as error:
        networks.Blueprint.from_plain(plain).build()
    assert "\n" not in str(error.value)


def test_adm_heads_must_divide_the_channels():
    settings = {**COMMON, "base_channels": 200, "attention_resolutions": (8,)}
    with pytest.raises(ValueError, match="3 attention heads do not divide 200 channels"):
        networks.ADM((3, 8, 8), **settings)
    with pytest.raises(ValueError, match="base_channels must be even, but is 7"):
        networks.ADM((3, 8, 8), **{**COMMON, "base_channels": 7})
