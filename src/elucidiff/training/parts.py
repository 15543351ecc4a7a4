"""The parts of the design space that a configuration names, made ready to train."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from elucidiff import networks, parts
from elucidiff.augment import Augment
from elucidiff.denoisers.shapes import LabelKind
from elucidiff.design import objectives, preconditioning
from elucidiff.design.objectives import Objective
from elucidiff.design.preconditioning import Preconditioning
from elucidiff.training.config import TrainingConfig
from elucidiff.training.draws import mix
from elucidiff.training.loss_weighting import LossWeighting


def make_network(
    config: TrainingConfig,
    sample_shape: Sequence[int],
    label_dim: int,
    augment_dim: int,
    label_kind: LabelKind | None = "classes",
) -> networks.Network:
    """The network, on the CPU, with starting values that depend on ``config.seed`` alone.

    Where label vectors are dropped, it is told in an input of its own whether there is a label: zeros are a label.
    """
    settings = dataclasses.asdict(config.network)
    presence = label_kind == "vectors" and config.network.label_dropout > 0
    settings.update(label_dim=label_dim, label_presence=presence, augment_dim=augment_dim)
    make: dict[str, Callable[..., networks.Network]] = {
        "ddpmpp": networks.UNet.ddpmpp,
        "ncsnpp": networks.UNet.ncsnpp,
        "adm": networks.ADM,
        "edm2": networks.EDM2,
        "mp-unet": networks.MPUNet,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(config.seed, "weights"))
        return make[settings.pop("architecture")](sample_shape, **settings)


def make_preconditioning(config: TrainingConfig) -> Preconditioning:
    """The column of Table 1 that ``config.preconditioning`` names, with the paper's constants."""
    if config.preconditioning == "edm":
        return preconditioning.EDM(sigma_data=config.sigma_data)
    return parts.parse("preconditioning", config.preconditioning)  # type: ignore[no-any-return]


def make_objective(config: TrainingConfig) -> Objective:
    """p_train and lambda that ``config.objective`` names, with the paper's constants."""
    if config.objective == "edm":
        return objectives.EDM(p_mean=config.p_mean, p_std=config.p_std, sigma_data=config.sigma_data)
    return parts.parse("objective", config.objective)  # type: ignore[no-any-return]


def make_loss_weighting(config: TrainingConfig) -> LossWeighting | None:
    """The learned loss weighting, on the CPU, with frequencies that depend on ``config.seed`` alone; None without."""
    if not config.learned_loss_weighting:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(config.seed, "loss weighting"))
        return LossWeighting()


def parameter_groups(trained: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """What the optimiser changes, in groups by their ``share`` of the learning rate: gains, and all else."""
    named = list(trained.named_parameters())
    gains = [parameter for name, parameter in named if name.endswith("_gain")]
    others = [parameter for name, parameter in named if not name.endswith("_gain")]
    groups = [{"params": others, "share": 1.0}, {"params": gains, "share": config.lr_gains}]
    return [group for group in groups if group["params"]]


def make_augment(config: TrainingConfig, sample_shape: Sequence[int]) -> Augment | None:
    """The augmentation pipeline, or None where no transform is switched on.

    Raises:
        ValueError: it cannot treat samples of this shape.
    """
    options = config.augment
    if options.p == 0 or not options.active:
        return None
    augment = Augment(**dataclasses.asdict(options))
    augment.check(sample_shape)
    return augment
