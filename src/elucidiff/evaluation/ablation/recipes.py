"""What training ablations begin with: the settings of the last configuration, F, for a few data sets."""

from __future__ import annotations

import os
from dataclasses import replace

from elucidiff.augment.options import Options
from elucidiff.suggest import suggestion
from elucidiff.training.config import NetworkConfig, TrainingConfig
from elucidiff.training.presets import CIFAR10, DIGITS, FASHION_MNIST

# Networks of the paper's kind and proportions, (2, 2, ...) multipliers, small enough for many runs on a few cores.
_DIGITS = replace(
    DIGITS.config,
    network=NetworkConfig(
        base_channels=16, channel_multipliers=(2, 2), blocks_per_level=1, attention_resolutions=(4,), dropout=0.0
    ),
    augment=CIFAR10.config.augment,
    checkpoint_images=20_000,
    memorisation_samples=0,
)

_FASHION_MNIST = replace(
    FASHION_MNIST.config,
    network=NetworkConfig(
        base_channels=16, channel_multipliers=(2, 2), blocks_per_level=1, attention_resolutions=(14,), dropout=0.0
    ),
    augment=CIFAR10.config.augment,
    learned_loss_weighting=False,
    max_minutes=None,
    duration_images=200_000,
    batch_size=64,
    lr=2e-3,
    checkpoint_images=25_000,
    memorisation_samples=0,
)

_CIFAR10 = replace(CIFAR10.config, memorisation_samples=0)

RECIPES: dict[str, TrainingConfig] = {"digits": _DIGITS, "fashion-mnist": _FASHION_MNIST, "cifar10": _CIFAR10}


def recipe(name: str) -> TrainingConfig:
    """The recipe called ``name``, or the one in the YAML file of that path.

    Raises:
        ValueError: there is none, the file is damaged, or the recipe is not one that ablations can vary.
        OSError: the file cannot be read.
    """
    if name.endswith((".yaml", ".yml")):
        config = TrainingConfig.load(os.fspath(name))
    elif name in RECIPES:
        config = RECIPES[name]
    else:
        raise ValueError(f"unknown recipe {name!r}; {suggestion(name, RECIPES)}, or the path of a config.yaml")
    check_recipe(config)
    return config


def check_recipe(config: TrainingConfig) -> None:
    """Refuse settings of which a baseline would be none, or whose runs would not repeat.

    Raises:
        ValueError: they are those of another network than the paper's configurations have, or of a run by the clock.
    """
    if config.network.architecture not in ("ddpmpp", "ncsnpp"):
        raise ValueError(
            f"the architecture is {config.network.architecture}, but the paper's configurations are about ddpmpp and "
            "ncsnpp: choose one of these, with settings that suit it"
        )
    if config.learned_loss_weighting:
        raise ValueError("learned_loss_weighting would replace the lambda that is to be compared: switch it off")
    if config.preconditioning != "edm" or config.objective != "edm":
        raise ValueError("preconditioning and objective are what is compared: leave both at edm in the recipe")
    if config.max_minutes is not None:
        raise ValueError("max_minutes would give each configuration another number of images: leave it out")
    if config.augment == Options() or not config.augment.active:
        raise ValueError("augment is off, but the last configuration has it: switch transforms on, as cifar10 does")
