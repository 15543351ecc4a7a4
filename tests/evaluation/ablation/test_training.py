"""The path from A to F: the paper's own numbers for CIFAR-10, one change a row, and clear refusals."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from elucidiff import parts
from elucidiff.design import objectives, preconditioning
from elucidiff.evaluation.ablation.training import (
    RECIPES,
    TRAINING_CONFIGURATIONS,
    A,
    F,
    check_recipe,
    configure,
    deepened,
    recipe,
)
from elucidiff.networks import DDPMPPSettings, MPUNetSettings
from elucidiff.plain_data import to_dict
from elucidiff.training.config import TrainingConfig
from elucidiff.training.presets import CIFAR10
from elucidiff.training.state import make_network

CIFAR_SHAPE = (3, 32, 32)


def settings(config: TrainingConfig) -> dict[str, object]:
    plain = to_dict(config)
    return {**{f"network.{name}": value for name, value in plain.pop("network").items()}, **plain}


def test_a_is_the_baseline_of_song_et_al_on_cifar10() -> None:
    config = configure(A, CIFAR10.config, CIFAR_SHAPE)
    assert (config.batch_size, config.lr) == (128, pytest.approx(2e-4, rel=1e-12))
    assert (config.lr_ramp_images, config.ema_half_life_images) == (pytest.approx(640_000), pytest.approx(900_000))
    assert config.network.dropout == pytest.approx(0.10)
    assert (config.network.channel_multipliers, parts.name_of(config.network)) == ((1, 2, 2, 2), "ddpmpp")
    assert (config.preconditioning, config.objective) == (preconditioning.VP(), objectives.VP())
    assert config.augment.off
    # Norm 1 of the mean over 3072 values is norm 3072 of their sum.
    assert config.gradient_clip == 3072


def test_f_is_the_recipe() -> None:
    assert configure(F, CIFAR10.config, CIFAR_SHAPE) == CIFAR10.config


def test_each_row_changes_what_it_says() -> None:
    rows = [settings(configure(each, CIFAR10.config, CIFAR_SHAPE)) for each in TRAINING_CONFIGURATIONS]
    changed = [{name for name in one if one[name] != other[name]} for one, other in pairwise(rows)]
    assert changed == [
        {"batch_size", "lr", "lr_ramp_images", "ema_half_life_images", "network.dropout", "gradient_clip"},
        {"network.channel_multipliers"},
        {"preconditioning"},
        {"objective"},
        {"augment"},
    ]


def test_the_ve_baseline_is_ncsnpp_throughout() -> None:
    configs = [configure(each, CIFAR10.config, CIFAR_SHAPE, "ve") for each in TRAINING_CONFIGURATIONS]
    assert {parts.name_of(config.network) for config in configs} == {"ncsnpp"}
    names = [(parts.name_of(each.preconditioning), parts.name_of(each.objective)) for each in configs]
    assert names == [("ve", "ve")] * 3 + [("edm", "ve")] + [("edm", "edm")] * 2


@pytest.mark.parametrize("name", ["digits", "fashion-mnist"])
def test_redistributed_capacity_is_redistributed_not_added(name: str) -> None:
    shape = {"digits": (1, 8, 8), "fashion-mnist": (1, 28, 28)}[name]
    b, c = (configure(each, RECIPES[name], shape) for each in TRAINING_CONFIGURATIONS[1:3])
    before, after = (sum(p.numel() for p in make_network(each, shape, 10, 0).parameters()) for each in (b, c))
    # The paper's own networks have 61.8 and 55.7 million parameters: a tenth less.
    assert 0.75 < after / before < 1


def test_levels_move_down_by_one() -> None:
    assert deepened(DDPMPPSettings(channel_multipliers=(2, 4)), (1, 8, 8)).channel_multipliers == (1, 2, 4)
    with pytest.raises(ValueError, match=r"channel_multipliers are \(1, 2\).*even number"):
        deepened(DDPMPPSettings(channel_multipliers=(1, 2)), (1, 8, 8))
    with pytest.raises(ValueError, match=r"28 x 28 cannot be halved 3 times"):
        deepened(DDPMPPSettings(channel_multipliers=(2, 2, 2)), (1, 28, 28))


def test_recipes_that_ablations_cannot_vary_are_refused() -> None:
    good = RECIPES["digits"]
    for changes, message in (
        ({"network": MPUNetSettings(8)}, "the network is mp_unet"),
        ({"learned_loss_weighting": True}, "learned_loss_weighting"),
        ({"objective": "vp"}, "leave both at edm"),
        ({"max_minutes": 3.0}, "max_minutes"),
        ({"augment": replace(good.augment, **dict.fromkeys(good.augment.active, 0))}, "augment is off"),
    ):
        with pytest.raises(ValueError, match=message):
            check_recipe(replace(good, **changes))
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        recipe("digit")
