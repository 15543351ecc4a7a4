"""Everything that training changes: weights, averages, optimiser, counters; to and from a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.training.checkpoint import Checkpoint
from elucidiff.training.config import TrainingConfig
from elucidiff.training.ema import AverageProfile, HalfLife, WeightAverage
from elucidiff.training.metrics import LossMeter
from elucidiff.training.parts import make_augment, make_network, make_objective, make_preconditioning
from elucidiff.training.posthoc_ema import PowerFunction

MAIN_AVERAGE = "ema"


class TrainingState:
    """A run between two optimiser steps.

    Args:
        config: the settings.
        sample_shape: shape (C, *spatial) of the data.
        label_dim: width of the labels to train with, 0 for none.
        device: where to train.

    Raises:
        ValueError: the settings do not fit the data or the device.

    Attributes:
        denoiser: the network in training, preconditioned.
        averages: moving averages of its weights by name; :data:`MAIN_AVERAGE` is the one that is kept as the model.
        optimiser: Adam.
        meter: losses since the last line of the log.
        objective: p_train, lambda and the loss.
        augment: the augmentation pipeline, or None.
        step: optimiser steps so far.
        images_seen: training images so far.
        seconds: time spent so far, over all sessions of the run.
    """

    def __init__(
        self, config: TrainingConfig, sample_shape: Sequence[int], label_dim: int, device: torch.device
    ) -> None:
        if config.precision == "fp16" and device.type != "cuda":
            raise ValueError(f"precision fp16 needs CUDA, but the device is {device}: use fp32")
        self.config = config
        self.device = device
        self.objective = make_objective(config)
        self.augment = make_augment(config, sample_shape)
        network = make_network(config, sample_shape, label_dim, self.augment.label_dim if self.augment else 0)
        layout = torch.channels_last if config.channels_last else torch.preserve_format
        network.to(device).to(memory_format=layout)
        self.denoiser = Denoiser(network, make_preconditioning(config)).train()
        profiles: dict[str, AverageProfile] = {
            MAIN_AVERAGE: HalfLife(config.ema_half_life_images, config.ema_rampup_ratio),
            **{f"{MAIN_AVERAGE}-{width:g}": PowerFunction(width) for width in config.ema_widths},
        }
        self.averages = {name: WeightAverage(network, profile) for name, profile in profiles.items()}
        self.optimiser = torch.optim.Adam(
            network.parameters(), lr=0.0, betas=config.adam_betas, eps=config.adam_eps, fused=True
        )
        self.meter = LossMeter(device)
        self.step = 0
        self.images_seen = 0
        self.seconds = 0.0

    def precision(self) -> AbstractContextManager[Any]:
        """The arithmetic in which the network runs while this context is active."""
        if self.config.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(
            self.device.type, {"bf16": torch.bfloat16, "fp16": torch.float16}[self.config.precision]
        )

    @property
    def model(self) -> Denoiser:
        """The denoiser with the averaged weights: what the training is for."""
        return Denoiser(self.averages[MAIN_AVERAGE].network, self.denoiser.preconditioning).eval()

    def checkpoint(self, **facts: Any) -> Checkpoint:
        """All of this, and ``facts`` about the run, as a checkpoint."""
        tensors = {f"network.{name}": value for name, value in self.denoiser.network.state_dict().items()}
        for name, average in self.averages.items():
            tensors |= {f"{name}.{key}": value for key, value in average.network.state_dict().items()}
        tensors |= {f"meter.{name}": value for name, value in self.meter.state_dict().items()}
        for name, parameter in self.denoiser.network.named_parameters():
            # A parameter that has never had a gradient has no entry.
            tensors |= {f"adam.{name}.{key}": value for key, value in self.optimiser.state.get(parameter, {}).items()}
        return Checkpoint(self.images_seen, {"step": self.step, "seconds": self.seconds, **facts}, tensors)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``, which must be of the same architecture."""
        self.denoiser.network.load_state_dict(_below("network", checkpoint.tensors))
        for name, average in self.averages.items():
            average.network.load_state_dict(_below(name, checkpoint.tensors))
        self.meter.load_state_dict(_below("meter", checkpoint.tensors))
        adam = _below("adam", checkpoint.tensors)
        for name, parameter in self.denoiser.network.named_parameters():
            for key, value in _below(name, adam).items():
                # Moments get the memory layout of their parameter, which the fused kernel counts on.
                like = parameter.detach() if value.shape == parameter.shape else value
                self.optimiser.state[parameter][key] = torch.empty_like(like, device=parameter.device).copy_(value)
        self.images_seen = checkpoint.images_seen
        self.step, self.seconds = checkpoint.state["step"], checkpoint.state["seconds"]


def _below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors called ``name.x``, as x."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
