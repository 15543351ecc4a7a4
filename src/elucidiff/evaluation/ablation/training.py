"""How to train, one configuration a row: Karras et al. 2022, Table 2, from the baseline A to F."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from elucidiff.augment.options import Options
from elucidiff.training.config import Architecture, NetworkConfig, TrainingConfig

Baseline = Literal["vp", "ve"]

ARCHITECTURES: dict[Baseline, Architecture] = {"vp": "ddpmpp", "ve": "ncsnpp"}
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
    network = replace(
        recipe.network if configuration.redistributed else deepened(recipe.network, shape),
        architecture=ARCHITECTURES[baseline],
        dropout=recipe.network.dropout * song.dropout,
    )
    return replace(
        recipe,
        network=network,
        augment=recipe.augment if configuration.augmented else Options(),
        preconditioning="edm" if configuration.preconditioning == "edm" else baseline,
        objective="edm" if configuration.objective == "edm" else baseline,
        batch_size=max(1, round(recipe.batch_size * song.batch_size)),
        lr=recipe.lr * song.lr,
        lr_ramp_images=recipe.lr_ramp_images * song.lr_ramp,
        ema_half_life_images=recipe.ema_half_life_images * song.ema_half_life,
        # Our gradients are those of the sum over the values of an image.
        gradient_clip=None if song.clip is None else song.clip * math.prod(shape),
    )


def deepened(network: NetworkConfig, shape: Sequence[int]) -> NetworkConfig:
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
