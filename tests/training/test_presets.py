"""The paper's settings, number by number, and networks of the paper's sizes."""

from __future__ import annotations

import pytest
import torch

from elucidiff import parts
from elucidiff.design import objectives, preconditioning
from elucidiff.training.learning_rate import Constant
from elucidiff.training.presets import PRESETS, preset
from elucidiff.training.state import make_augment, make_network


@pytest.mark.parametrize(
    ("name", "batch", "lr", "duration", "half_life", "dropout", "p", "multipliers"),
    [
        ("cifar10", 512, 1e-3, 200e6, 0.5e6, 0.13, 0.12, (2, 2, 2)),
        ("ffhq64", 256, 2e-4, 200e6, 0.5e6, 0.05, 0.15, (1, 2, 2, 2)),
        ("afhqv2-64", 256, 2e-4, 200e6, 0.5e6, 0.25, 0.15, (1, 2, 2, 2)),
        ("imagenet64", 4096, 1e-4, 2500e6, 50e6, 0.10, None, (1, 2, 3, 4)),
    ],
)
def test_the_papers_hyper_parameters(name, batch, lr, duration, half_life, dropout, p, multipliers) -> None:  # type: ignore[no-untyped-def]
    config = preset(name)
    assert (config.batch_size, config.lr, config.duration_images) == (batch, lr, duration)
    assert (config.ema_half_life_images, config.ema_rampup_ratio) == (half_life, 0.05)
    assert (config.lr_ramp_images, config.lr_decay, config.gradient_clip) == (10e6, Constant(), None)
    assert (config.adam_betas, config.adam_eps) == ((0.9, 0.999), 1e-8)
    assert (config.network.dropout, config.network.channel_multipliers) == (dropout, multipliers)
    assert config.max_minutes is None
    assert (config.objective, config.preconditioning) == (objectives.EDM(-1.2, 1.2, 0.5), preconditioning.EDM(0.5))
    augment = make_augment(config, (3, 64, 64))
    assert (augment is None) == (p is None)
    if augment:
        assert augment.p == p
        assert augment.active == ("xflip", "yflip", "scale", "rotate_frac", "aniso", "translate_frac")
        assert augment.label_dim == 9


def test_imagenet_is_the_papers_adm_in_half_precision() -> None:
    config = preset("imagenet64")
    network = config.network
    assert (parts.name_of(network), network.base_channels, network.blocks_per_level) == ("adm", 192, 3)
    assert network.attention_resolutions == (32, 16, 8)
    assert (config.precision, config.loss_scale) == ("fp16", 100.0)


@pytest.mark.parametrize(
    ("name", "shape", "label_dim", "millions"),
    [
        ("cifar10", (3, 32, 32), 10, (55.5, 56.0)),
        ("ffhq64", (3, 64, 64), 0, (61.5, 62.0)),
        ("imagenet64", (3, 64, 64), 1000, (295, 297)),
    ],
)
def test_network_sizes(name: str, shape: tuple[int, ...], label_dim: int, millions: tuple[float, float]) -> None:
    config = preset(name)
    augment = make_augment(config, shape)
    with torch.device("meta"):
        network = make_network(config, shape, label_dim, augment.label_dim if augment else 0)
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions[0] <= count <= millions[1]


@pytest.mark.parametrize(
    ("name", "result"),
    [("cifar10", "1.79 at 35"), ("ffhq64", "2.39 at 79"), ("afhqv2-64", "1.96 at 79"), ("imagenet64", "1.36 at 511")],
)
def test_reported_quality_stands_beside_the_settings(name: str, result: str) -> None:
    assert result in PRESETS[name].result


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown preset 'fashon-mnist'; did you mean 'fashion-mnist'"):
        preset("fashon-mnist")
    with pytest.raises(ValueError, match="known: digits, fashion-mnist"):
        preset("zzz")
