"""Compiled networks (``torch.compile``): whether that pays, and doing it.

A compiled network rounds otherwise than an eager one, so a run must not change from one to the other. Whether to
compile is therefore decided before the first step, from the settings and the kind of machine and not from a
measurement, and is kept in the checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.distributed.fsdp import FSDPModule

from elucidiff.denoisers.backends.choosing import Payoff, forward_flops
from elucidiff.denoisers.backends.pytorch import in_one_line, try_compiler
from elucidiff.networks import Blueprint, Network
from elucidiff.training.batches import seeded_layers
from elucidiff.training.config import TrainingConfig
from elucidiff.training.state import TrainingState

# Floating-point operations a second in training: of one thread by the processor's vector instructions, of one
# accelerator by the precision. Rough, but never measured: see above.
_CPU_SPEED = {"AVX512": 100e9, "AVX2": 60e9}
_OTHER_CPU_SPEED = 30e9
_CUDA_SPEED = {"fp32": 10e12, "fp16": 50e12, "bf16": 50e12}

PAYOFF = {"cpu": Payoff(120.0, 1.2), "cuda": Payoff(60.0, 1.25)}
"""By type of device; on others auto means no."""


def training_flops(blueprint: Blueprint) -> int:
    """Floating-point operations to train a network on one image: forward, and twice that backward.

    Args:
        blueprint: how it is built.
    """
    return 3 * forward_flops(blueprint)


def eager_seconds(config: TrainingConfig, flops: int, device: torch.device, processes: int = 1) -> float:
    """About how long a whole run takes without compiling.

    Args:
        config: length and precision of the run.
        flops: :func:`training_flops` of the network.
        device: where to train.
        processes: how many share the work.
    """
    if device.type == "cuda":
        speed = _CUDA_SPEED[config.precision]
    else:
        speed = _CPU_SPEED.get(torch.backends.cpu.get_cpu_capability(), _OTHER_CPU_SPEED) * torch.get_num_threads()
    seconds = config.duration_images * flops / (speed * processes)
    return seconds if config.max_minutes is None else min(seconds, 60 * config.max_minutes)


def compile_if_wanted(state: TrainingState, say: Callable[[str], None]) -> None:
    """Compile the network in training if the settings ask for it, or leave it to us and it pays.

    Weights keep their names and averages stay eager. Dropout draws the same numbers as without.

    Args:
        state: the training state, new or restored; :attr:`TrainingState.compiled` holds the decision from then on.
        say: is told in one line what is done and why.

    Raises:
        ValueError: compiling is asked for, and impossible here.
    """
    config = state.config
    if config.compile != "auto":
        state.compiled = config.compile == "on"
    elif state.compiled is None:
        state.compiled = _pays(state)
    if not state.compiled:
        return
    say("compiling the network: this takes minutes, and training is faster then")
    problem = _compile(state)
    if problem is None:
        return
    if config.compile == "on":
        raise ValueError(f"cannot compile the network here ({problem}): set compile to off (--compile off)")
    say(f"the network stays as it is, because it cannot be compiled here ({problem})")


def _pays(state: TrainingState) -> bool:
    payoff = PAYOFF.get(state.device.type)
    network = state.denoiser.network
    if payoff is None or not isinstance(network, Network) or isinstance(network, FSDPModule):
        return False
    flops = training_flops(network.blueprint)
    return payoff.worth(eager_seconds(state.config, flops, state.device, state.processes.count))


def _compile(state: TrainingState) -> str | None:
    """Compile and run once; if that fails, leave everything as it was and say why."""
    network = state.denoiser.network
    if isinstance(network, FSDPModule):
        return "its weights are split over the processes"
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    try:
        try_compiler(state.device)
        # Every batch has the same shape. PyTorch's own generators are slower for dropout, but draw what eager draws.
        network.compile(dynamic=False, options={"fallback_random": True})
        _run_once(state)
    except Exception as error:  # a compiler can fail in any way, and training needs none
        network._compiled_call_impl = None  # there is no public way back
        return in_one_line(error)
    finally:
        # Networks may change their weights when they run, and are not to have run.
        network.load_state_dict(weights)
        state.optimiser.zero_grad(set_to_none=True)
    return None


def _run_once(state: TrainingState) -> None:
    """Forward and backward on grey images, as an update does it: the code is made when it is first needed.

    Other processes are not waited for: they may have failed to compile.
    """
    config = state.config
    images, sigma, labels, augment_labels = state.blank(config.device_batch_size or state.images)
    with seeded_layers(config.seed, state.step, state.share.start, state.device), state.gradients_meet(now=False):
        with state.arithmetic.forward():
            loss = state.objective.loss(state.replica, images, sigma, images, labels, augment_labels)
        torch.autograd.backward(loss.sum())
