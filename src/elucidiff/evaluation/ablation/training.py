"""Ways to train, one configuration a row: Karras et al. 2022, Table 2, from the baseline A to F."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from elucidiff import parts
from elucidiff.augment import Augment
from elucidiff.augment.base import COLOUR
from elucidiff.design import objectives, preconditioning
from elucidiff.networks import DDPMPPSettings, NCSNPPSettings, NetworkSettings
from elucidiff.suggest import suggestion
from elucidiff.training.config import TrainingConfig
from elucidiff.training.presets import CIFAR10, DIGITS, FASHION_MNIST

Baseline = Literal["vp", "ve"]

ARCHITECTURES: dict[Baseline, type[DDPMPPSettings]] = {"vp": DDPMPPSettings, "ve": NCSNPPSettings}
"""The network of each baseline, in all configurations: Song et al. 2021."""


@dataclass(frozen=True)
class HyperParameters:
    """Settings of the optimiser and the averages, as ratios to those of a recipe.

    So they mean the same for 8x8 digits in minutes as for CIFAR-10 in days.

    Attributes:
        batch_size, lr, lr_ramp, ema_half_life, dropout: factors.
        clip: largest norm of the gradient of the mean loss over all values of an image; None for no clipping.
    """

    batch_size: float = 1.0
    lr: float = 1.0
    lr_ramp: float = 1.0
    ema_half_life: float = 1.0
    dropout: float = 1.0
    clip: float | None = None


SONG = HyperParameters(
    batch_size=128 / 512, lr=2e-4 / 1e-3, lr_ramp=0.64 / 10, ema_half_life=0.9 / 0.5, dropout=0.10 / 0.13, clip=1.0
)
"""Those of Song et al. 2021 on CIFAR-10, over those that Karras et al. 2022 found (their Table 7)."""
RECIPE = HyperParameters()


@dataclass(frozen=True)
class TrainingConfiguration:
    """One row of Table 2.

    Attributes:
        name: in tables, files and on the command line.
        what: in what it differs from the row before.
        hyper_parameters: of the optimiser and the averages.
        redistributed: whether the capacity of the lowest resolution has been moved to the highest one.
        preconditioning: whether it is the baseline's or EDM's.
        objective: whether p_train and lambda are the baseline's or EDM's.
        augmented: whether images are augmented, without leaks.
    """

    name: str
    what: str
    hyper_parameters: HyperParameters
    redistributed: bool = False
    preconditioning: Literal["baseline", "edm"] = "baseline"
    objective: Literal["baseline", "edm"] = "baseline"
    augmented: bool = False


A = TrainingConfiguration("a", "baseline of Song et al.", SONG)
B = replace(A, name="b", what="+ adjusted hyper-parameters", hyper_parameters=RECIPE)
C = replace(B, name="c", what="+ redistributed capacity", redistributed=True)
D = replace(C, name="d", what="+ EDM preconditioning", preconditioning="edm")
E = replace(D, name="e", what="+ EDM loss: p_train and lambda", objective="edm")
F = replace(E, name="f", what="+ non-leaking augmentation", augmented=True)

TRAINING_CONFIGURATIONS = (A, B, C, D, E, F)


def configure(
    configuration: TrainingConfiguration, recipe: TrainingConfig, shape: Sequence[int], baseline: Baseline = "vp"
) -> TrainingConfig:
    """The settings of one run.

    Args:
        configuration: the row.
        recipe: the settings of the last row, F.
        shape: (C, *spatial) of the data, by which clipping is scaled and the network's levels are checked.
        baseline: where the path begins.

    Raises:
        ValueError: the recipe's network has no baseline, or the data are too small for it; see :func:`deepened`.
    """
    song = configuration.hyper_parameters
    after = _network(recipe)
    before = after if configuration.redistributed else deepened(after, shape)
    network = of_architecture(before, ARCHITECTURES[baseline])
    return replace(
        recipe,
        network=replace(network, dropout=after.dropout * song.dropout),
        augment=recipe.augment if configuration.augmented else Augment(),
        preconditioning=(
            recipe.preconditioning
            if configuration.preconditioning == "edm"
            else parts.parse("preconditioning", baseline)
        ),
        objective=recipe.objective if configuration.objective == "edm" else parts.parse("objective", baseline),
        batch_size=max(1, round(recipe.batch_size * song.batch_size)),
        lr=recipe.lr * song.lr,
        lr_ramp_images=recipe.lr_ramp_images * song.lr_ramp,
        ema_half_life_images=recipe.ema_half_life_images * song.ema_half_life,
        # Our gradients are those of the sum over the values of an image.
        gradient_clip=None if song.clip is None else song.clip * math.prod(shape),
    )


def of_architecture(network: DDPMPPSettings, architecture: type[DDPMPPSettings]) -> DDPMPPSettings:
    """The network of another architecture with what all have in common: channels, blocks, attention and dropout."""
    common = {entry.name: getattr(network, entry.name) for entry in fields(NetworkSettings)}
    return network if type(network) is architecture else architecture(**common)


def _network(recipe: TrainingConfig) -> DDPMPPSettings:
    assert isinstance(recipe.network, DDPMPPSettings)  # check_recipe said so
    return recipe.network


def deepened(network: DDPMPPSettings, shape: Sequence[int]) -> DDPMPPSettings:
    """The network before its capacity was redistributed: every level one lower, and half the channels at the top.

    From multipliers 2-2-2 this leads to 1-2-2-2: Karras et al. 2022, configuration B of Table 2.

    Args:
        network: after it was.
        shape: (C, *spatial) of the data.

    Raises:
        ValueError: the channels at the top, or a side of the lowest level, cannot be halved.
    """
    top, *rest = network.channel_multipliers
    if top % 2:
        raise ValueError(
            f"channel_multipliers are {network.channel_multipliers}, so configurations A and B, which have half the "
            "channels at the highest resolution, cannot be made: begin with an even number, such as (2, 2)"
        )
    factor = 2 ** len(network.channel_multipliers)
    if any(side % factor for side in shape[1:]):
        sides = " x ".join(map(str, shape[1:]))
        raise ValueError(
            f"samples of {sides} cannot be halved {len(network.channel_multipliers)} times, as the network of "
            "configurations A and B does: use a network with fewer channel_multipliers, or samples of another size"
        )
    return replace(network, channel_multipliers=(top // 2, top, *rest))


# Networks of the paper's kind and proportions, (2, 2, ...) multipliers, small enough for many runs on a few cores.
_DIGITS = replace(
    DIGITS.config,
    network=DDPMPPSettings(
        base_channels=16, channel_multipliers=(2, 2), blocks_per_level=1, attention_resolutions=(4,), dropout=0.0
    ),
    augment=CIFAR10.config.augment,
    checkpoint_images=20_000,
    memorisation_samples=0,
)

_FASHION_MNIST = replace(
    FASHION_MNIST.config,
    network=DDPMPPSettings(
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
    if not isinstance(config.network, DDPMPPSettings):
        raise ValueError(
            f"the network is {parts.name_of(config.network)}, but the paper's configurations are about ddpmpp and "
            "ncsnpp: choose one of these, with settings that suit it"
        )
    if config.learned_loss_weighting:
        raise ValueError("learned_loss_weighting would replace the lambda that is to be compared: switch it off")
    edm = isinstance(config.preconditioning, preconditioning.EDM) and isinstance(config.objective, objectives.EDM)
    if not edm:
        raise ValueError("preconditioning and objective are what is compared: leave both at edm in the recipe")
    if config.max_minutes is not None:
        raise ValueError("max_minutes would give each configuration another number of images: leave it out")
    if config.augment.off:
        raise ValueError("augment is off, but the last configuration has it: switch transforms on, as cifar10 does")


PAPER = ("xflip", "yflip", "scale", "rotate_frac", "aniso", "translate_frac")
"""The transforms of the paper's set."""

GREY = ("brightness", "contrast", "lumaflip")
"""Colour corruption of grey images: of turns of the hue and of saturation they know nothing."""


@dataclass(frozen=True)
class AugmentationConfiguration:
    """One row of a table about augmentation.

    Attributes:
        name: in tables, files and on the command line.
        what: what it is, in a few words.
        options: the transforms, all for the probability p of the paper's set.
    """

    name: str
    what: str
    options: Augment

    def configure(self, recipe: TrainingConfig) -> TrainingConfig:
        """The settings of one run: ``recipe`` with this augmentation."""
        return replace(recipe, augment=self.options)


def augmentation_configurations(p: float, shape: Sequence[int]) -> tuple[AugmentationConfiguration, ...]:
    """No augmentation, each transform of the paper's set alone, all of them, and what harms: colours and filters.

    Args:
        p: probability of each transform, but for the left-right mirror: half of all images are mirrored.
        shape: (C, H, W) of the data: RGB images are corrupted by all colour transforms, grey ones by those that
            change a grey image, and for other channels these rows are left out. Image-space filtering takes any.

    Raises:
        ValueError: p is no probability above 0, or the samples are not two-dimensional.
    """
    if not 0 < p <= 1:
        raise ValueError(f"p is {p:g}, but must be a probability above 0, such as the paper's 0.12")
    paper = Augment.paper(p)
    paper.check(shape)
    options = {name: getattr(paper, name) for name in PAPER}
    rows = [
        AugmentationConfiguration("none", "no augmentation", Augment()),
        *(AugmentationConfiguration(name, f"{name} alone", Augment(p=p, **{name: options[name]})) for name in PAPER),
        AugmentationConfiguration("paper", "the paper's set", Augment(p=p, **options)),
    ]
    if shape[0] in (1, 3):
        names, kind = (COLOUR, "colour") if shape[0] == 3 else (GREY, "grey-level")
        corruption = dict.fromkeys(names, 1.0)
        listed = ", ".join(names)
        rows += [
            AugmentationConfiguration("corruption", f"{kind} corruption alone: {listed}", Augment(p=p, **corruption)),
            AugmentationConfiguration(
                "paper-corruption", f"the paper's set and {kind} corruption", Augment(p=p, **options, **corruption)
            ),
        ]
    filtering = {"imgfilter": 1.0}
    rows += [
        AugmentationConfiguration("filtering", "image-space filtering alone", Augment(p=p, **filtering)),
        AugmentationConfiguration(
            "paper-filtering", "the paper's set and image-space filtering", Augment(p=p, **options, **filtering)
        ),
    ]
    return tuple(rows)
