"""Everything that training changes: weights, averages, optimiser, counters; to and from a checkpoint.

Among them may be a weight for every noise level, learned along the way: Karras et al. 2024 (arXiv 2312.02696), App.
B.4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.augment import Augmentation
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.denoisers.shapes import LabelKind
from elucidiff.networks import NetworkSettings
from elucidiff.networks.fields import FIELD, LABELS
from elucidiff.networks.layers import FourierEmbedding
from elucidiff.training.batches import mix, seeded_layers
from elucidiff.training.checkpoint import Checkpoint
from elucidiff.training.config import TrainingConfig
from elucidiff.training.ema import AverageProfile, HalfLife, PowerFunction, WeightAverage
from elucidiff.training.metrics import LossMeter
from elucidiff.training.precision import Arithmetic, check_precision, memory_format
from elucidiff.training.pretrained import Taken, take_weights
from elucidiff.training.processes import (
    Processes,
    gathered,
    gradients_meet,
    load_whole,
    replicate,
    shard,
    split_like,
    whole_network,
)


def uncertainty_weighted(loss: Tensor, log_variance: Tensor) -> Tensor:
    """``exp(-u) loss + u``, Eq. 21 (after Kendall et al. 2018): to be minimised over the network and u(sigma).

    Args:
        loss: weighted loss of every element, ``(B, C, *spatial)``.
        log_variance: u(sigma), ``(B,)`` or ``(B, 1, ...)``; of a published network, :meth:`.EDM2.log_variance`.

    Returns:
        Shaped like ``loss``.
    """
    u = log_variance.reshape(-1, *[1] * (loss.ndim - 1))
    return loss * torch.exp(-u) + u


class LossWeighting(nn.Module):
    """``exp(-u(sigma)) loss + u(sigma)`` with a learned u, Eq. 21 (after Kendall et al. 2018).

    For a fixed denoiser the minimiser is u(sigma) = ln E[loss | sigma], so at every noise level the network sees a
    loss of mean 1 and no level drowns the gradients of the others. u is a linear layer on sines and cosines of
    ln(sigma) / 4 (the EDM preconditioning's c_noise) at random frequencies. It starts at 0, where the loss is as it
    was, learns with the network, and is of no use afterwards.

    Args:
        channels: number of features, even.
    """

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.features = FourierEmbedding(channels, scale=1.0)
        self.linear = nn.Linear(channels, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def log_loss(self, sigma: Tensor) -> Tensor:
        """u(sigma), shaped ``(B,)`` like ``sigma``."""
        # In float32 whatever the network computes in: exp magnifies rounding, and there is next to nothing to save.
        with torch.autocast(sigma.device.type, enabled=False):
            u: Tensor = self.linear(self.features(sigma.float().log() / 4)).squeeze(1)
        return u

    def forward(self, loss: Tensor, sigma: Tensor) -> Tensor:
        """The loss to minimise instead.

        Args:
            loss: weighted loss of every element, ``(B, C, *spatial)``.
            sigma: noise levels, ``(B,)``.

        Returns:
            ``exp(-u) loss + u``, shaped like ``loss``.
        """
        return uncertainty_weighted(loss, self.log_loss(sigma))


MAIN_AVERAGE = "ema"


class TrainingState:
    """A run between two optimiser steps.

    Args:
        config: the settings.
        sample_shape: shape (C, *spatial) of the data.
        label_dim: width of the labels to train with, 0 for none.
        device: where to train.
        processes: who trains together; None for this process alone.
        label_kind: what the labels are.
        network: the network to train, in place; None for a new one of ``config.network``.
        condition_shape: shape (C, *spatial) of the conditions to train with; empty for none.
        begin: whether the weights of ``config.start_from`` are wanted: not where a checkpoint follows.

    Raises:
        ValueError: the settings, or the network, do not fit the data or the device.

    Attributes:
        taken: which weights were taken from ``config.start_from``; None for none.
        denoiser: the network in training, preconditioned.
        replica: the denoiser as the loss calls it, with gradients that are averaged over processes.
        averages: moving averages of its weights by name; :data:`MAIN_AVERAGE` is the one that is kept as the model.
        optimiser: Adam.
        arithmetic: number types, loss scale, and how gradients are used.
        meter: losses since the last line of the log.
        objective: p_train, lambda and the loss.
        loss_weighting: the learned weighting of noise levels, or None.
        trained: all that the optimiser changes: the network and, if there is one, the loss weighting.
        augment: the augmentation pipeline, or None.
        share: which images of a batch this process computes.
        images: how many these are.
        step: optimiser steps so far.
        images_seen: training images so far.
        seconds: time spent so far, over all sessions of the run.
        halvings: how often the learning rate was halved because the loss had exploded.
        lowest_loss: the lowest mean loss between two lines of the log; infinite before the first.
        compiled: whether the network in training is to be compiled; None until that is decided.
    """

    def __init__(
        self,
        config: TrainingConfig,
        sample_shape: Sequence[int],
        label_dim: int,
        device: torch.device,
        processes: Processes | None = None,
        label_kind: LabelKind | None = "classes",
        network: nn.Module | None = None,
        condition_shape: Sequence[int] = (),
        *,
        begin: bool = True,
    ) -> None:
        check_precision(config, device)
        self.config = config
        self.device = device
        self.processes = processes or Processes()
        self.share = self.processes.share(config)
        self.images = self.share.stop - self.share.start
        self.objective = config.objective
        self.augment = make_augment(config, sample_shape)
        augment_dim = self.augment.label_dim if self.augment else 0
        if network is None:
            network = make_network(config, sample_shape, label_dim, augment_dim, label_kind, condition_shape)
        self.taken: Taken | None = None
        if config.start_from and begin:
            self.taken = take_weights(network, config.start_from)
        network.to(device).to(memory_format=memory_format(config, device, len(sample_shape) - 1))
        self.denoiser = Denoiser(network, config.preconditioning).train()
        self._facts: dict[str, Any] = {"shape": list(sample_shape), "label_dim": label_dim}
        self.denoiser.facts["data"] = dict(self._facts)
        if condition_shape:
            self._facts["condition_shape"] = list(condition_shape)
            self.denoiser.facts["data"] = dict(self._facts)
        _check_fit(self.denoiser, sample_shape, label_dim, augment_dim, condition_shape)
        self.loss_weighting: nn.Module | None = make_loss_weighting(config)
        self.trained = nn.ModuleDict({"network": network})
        if self.loss_weighting is not None:
            self.trained["loss_weighting"] = self.loss_weighting.to(device)
        profiles: dict[str, AverageProfile] = {
            MAIN_AVERAGE: HalfLife(config.ema_half_life_images, config.ema_rampup_ratio),
            **{f"{MAIN_AVERAGE}-{width:g}": PowerFunction(width) for width in config.ema_widths},
        }
        self.averages = {name: WeightAverage(network, profile) for name, profile in profiles.items()}
        self.arithmetic = Arithmetic(config, device)
        self.replica: nn.Module = self.denoiser
        if self.processes.count > 1:
            self._spread()
        self.optimiser = torch.optim.Adam(
            parameter_groups(self.trained, config), lr=0.0, betas=config.adam_betas, eps=config.adam_eps, fused=True
        )
        self.meter = LossMeter(device, self.processes)
        self.step = 0
        self.images_seen = 0
        self.seconds = 0.0
        self.halvings = 0
        self.lowest_loss = math.inf
        self.compiled: bool | None = None

    @property
    def model(self) -> Denoiser:
        """The denoiser with the averaged weights: what the training is for. All processes take part in making it."""
        made = Denoiser(whole_network(self.averages[MAIN_AVERAGE].network), self.denoiser.preconditioning).eval()
        made.facts["data"] = dict(self._facts)
        return made

    @property
    def network_fingerprint(self) -> dict[str, list[int]]:
        """The shapes of the network's parameters, by which a resumed run knows it again."""
        return {name: list(parameter.shape) for name, parameter in self.denoiser.network.named_parameters()}

    def blank(self, count: int) -> tuple[Tensor, Tensor, Conditions | None, Tensor | None]:
        """``count`` grey images, noise levels of 1, zeros for labels, conditions and augmentation labels, or None.

        A pass on these makes ready what is made when it is first needed.
        """
        rows, augment_labels = (
            torch.zeros(count, width, device=self.device) if width else None
            for width in (self.denoiser.label_dim, self.augment.label_dim if self.augment else 0)
        )
        labels: Conditions | None = rows
        if shape := self.denoiser.known_labels.field:
            labels = {FIELD: torch.zeros(count, *shape, device=self.device)}
            if rows is not None:
                labels[LABELS] = rows
        images = torch.zeros(count, *self.denoiser.sample_shape, device=self.device)
        return images, torch.ones(count, device=self.device), labels, augment_labels

    def gradients_meet(self, now: bool) -> AbstractContextManager[None]:
        """A pass in this context adds to the gradients; ``now`` averages them over processes, too."""
        modules = [self.replica] if self.loss_weighting is None else [self.replica, self.loss_weighting]
        return gradients_meet(modules, now)

    def checkpoint(self, **facts: Any) -> Checkpoint:
        """All of this, and ``facts`` about the run, as a checkpoint. All processes take part."""
        tensors = dict(self.trained.state_dict())
        for name, average in self.averages.items():
            tensors |= {f"{name}.{key}": value for key, value in average.network.state_dict().items()}
        tensors |= {f"meter.{name}": value for name, value in self.meter.state_dict().items()}
        for name, parameter in self.trained.named_parameters():
            # A parameter that has never had a gradient has no entry.
            tensors |= {f"adam.{name}.{key}": value for key, value in self.optimiser.state.get(parameter, {}).items()}
        numbers: dict[str, Any] = {"step": self.step, "seconds": self.seconds, "compiled": self.compiled}
        numbers["arithmetic"] = self.arithmetic.state_dict()
        numbers["halvings"] = self.halvings
        numbers["lowest_loss"] = self.lowest_loss if math.isfinite(self.lowest_loss) else None
        return Checkpoint(self.images_seen, {**numbers, **facts}, gathered(tensors, self.processes.main))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``, which must be of the same architecture."""
        for name, module in self.trained.items():
            load_whole(module, below(name, checkpoint.tensors))
        for name, average in self.averages.items():
            load_whole(average.network, below(name, checkpoint.tensors))
        self.meter.load_state_dict(below("meter", checkpoint.tensors))
        self.optimiser.state.clear()
        adam = below("adam", checkpoint.tensors)
        for name, parameter in self.trained.named_parameters():
            for key, value in below(name, adam).items():
                if value.shape == parameter.shape:
                    # Moments get the memory layout of their parameter, which the fused kernel counts on.
                    moment = torch.empty_like(parameter.detach()).copy_(split_like(value, parameter))
                else:
                    moment = value.to(parameter.device, copy=True)
                self.optimiser.state[parameter][key] = moment
        self.images_seen = checkpoint.images_seen
        self.step, self.seconds = checkpoint.state["step"], checkpoint.state["seconds"]
        self.compiled = checkpoint.state["compiled"]
        self.halvings = checkpoint.state.get("halvings", 0)
        lowest = checkpoint.state.get("lowest_loss")
        self.lowest_loss = math.inf if lowest is None else lowest
        self.arithmetic.load_state_dict(checkpoint.state["arithmetic"])

    def _spread(self) -> None:
        """Copy or split what is trained over the processes."""
        if self.config.sharding == "none":
            self.replica = replicate(self.denoiser)
            if self.loss_weighting is not None:
                self.loss_weighting = replicate(self.loss_weighting)
            self._settle()
            return
        if self.config.precision == "fp16" and self.config.loss_scale is None:
            raise ValueError("sharding fsdp with precision fp16 needs a fixed loss_scale: set one, or use bf16")
        for module in (*self.trained.values(), *(average.network for average in self.averages.values())):
            shard(module, self.processes, self.device)

    def _settle(self) -> None:
        """A pass that changes nothing. DDP sums gradients in the order in which those of the first pass came.

        The first pass itself is summed in another order, which with three or more processes rounds otherwise: were it
        a step, the first step after a resumption would differ from that of an unbroken run.
        """
        images, sigma, labels, augment_labels = self.blank(1)
        with seeded_layers(self.config.seed, 0, 0, self.device), self.arithmetic.forward():
            output = self.replica(images, sigma, labels, augment_labels)
            if self.loss_weighting is not None:
                output = self.loss_weighting(output, sigma)
        torch.autograd.backward(output.sum())
        self.trained.zero_grad(set_to_none=True)


def below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors called ``name.x``, as x."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def make_network(
    config: TrainingConfig,
    sample_shape: Sequence[int],
    label_dim: int,
    augment_dim: int,
    label_kind: LabelKind | None = "classes",
    condition_shape: Sequence[int] = (),
) -> nn.Module:
    """The network, on the CPU, with starting values that depend on ``config.seed`` alone.

    Where label vectors are dropped, ours are told in an input of its own whether there is a label: zeros are a label.
    They take conditions of as many channels as the data have.
    """
    part = config.network
    if isinstance(part, NetworkSettings):
        part = replace(part, condition_channels=condition_shape[0] if condition_shape else 0)
    if isinstance(part, NetworkSettings) and label_kind == "vectors" and part.label_dropout > 0:
        part = replace(part, label_presence=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(config.seed, "weights"))
        return part.build(sample_shape, label_dim=label_dim, augment_dim=augment_dim)


def make_augment(config: TrainingConfig, sample_shape: Sequence[int]) -> Augmentation | None:
    """The augmentation, or None where it is off.

    Raises:
        ValueError: it cannot treat samples of this shape.
    """
    if config.augment.off:
        return None
    config.augment.check(sample_shape)
    return config.augment


def make_loss_weighting(config: TrainingConfig) -> LossWeighting | None:
    """The learned loss weighting, on the CPU, with frequencies that depend on ``config.seed`` alone; None without."""
    if not config.learned_loss_weighting:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(config.seed, "loss weighting"))
        return LossWeighting()


def parameter_groups(trained: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Parameters of the optimiser, in groups by their ``share`` of the learning rate: gains, and all else."""
    named = list(trained.named_parameters())
    gains = [parameter for name, parameter in named if name.endswith("_gain")]
    others = [parameter for name, parameter in named if not name.endswith("_gain")]
    groups = [{"params": others, "share": 1.0}, {"params": gains, "share": config.lr_gains}]
    return [group for group in groups if group["params"]]


def _check_fit(
    denoiser: Denoiser,
    sample_shape: Sequence[int],
    label_dim: int,
    augment_dim: int,
    condition_shape: Sequence[int],
) -> None:
    """Raise ValueError unless the network takes what it is to be trained with."""
    if not any(parameter.requires_grad for parameter in denoiser.network.parameters()):
        raise ValueError("the network has no parameters to train")
    if denoiser.sample_shape != tuple(sample_shape):
        raise ValueError(
            f"the network was made for samples of shape {denoiser.sample_shape}, but the data have "
            f"{tuple(sample_shape)}"
        )
    if label_dim and denoiser.takes.labels is None:
        raise ValueError(
            "the network takes no labels: set conditional to False, or let it be called as "
            "network(x, c_noise, labels)"
        )
    wanted = condition_shape[0] if condition_shape else 0
    if denoiser.condition_channels != wanted:
        has = f"conditions of {denoiser.condition_channels} channels" if denoiser.condition_channels else "none"
        raise ValueError(
            f"the data have conditions of shape {tuple(condition_shape)}, but the network takes {has}: choose one of "
            "ours, or leave them out (--condition none)"
            if wanted
            else f"the network takes {has}, but the data have none: name them (--condition)"
        )
    if denoiser.label_dim != label_dim:
        raise ValueError(f"the network takes {denoiser.label_dim} labels, but the data have {label_dim}")
    if augment_dim and denoiser.takes.augment_labels is None:
        raise ValueError(
            "the network is not told how images are augmented, so its samples would be, too: let it be called as "
            "network(x, c_noise, labels, augment_labels), or switch augmentation off"
        )
