"""Schedulers of diffusers by the names of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from elucidiff.interop.diffusers.continuous import EDMEuler, Euler, FlowEuler, Heun
from elucidiff.interop.diffusers.discrete import DDIM, DDPM
from elucidiff.interop.diffusers.multistep import DPMSolver, EDMDPMSolver, UniPC
from elucidiff.interop.diffusers.settings import Run, Scheduler, TableScheduler, read
from elucidiff.untrusted import clipped

CLASSES: Mapping[str, type[Scheduler]] = {
    "DDIMScheduler": DDIM,
    "DDPMScheduler": DDPM,
    "EulerDiscreteScheduler": Euler,
    "HeunDiscreteScheduler": Heun,
    "DPMSolverMultistepScheduler": DPMSolver,
    "UniPCMultistepScheduler": UniPC,
    "FlowMatchEulerDiscreteScheduler": FlowEuler,
    "EDMEulerScheduler": EDMEuler,
    "EDMDPMSolverMultistepScheduler": EDMDPMSolver,
}


@dataclass(frozen=True)
class OtherTable(TableScheduler):
    """Another scheduler with a table of betas: the noise levels are known, its sampler is not."""

    name: str = ""

    def sample(self, noise: Tensor, steps: int, run: Run) -> Tensor:
        """Raise ValueError."""
        raise _not_replayed(self.name)


@dataclass(frozen=True)
class OtherFlow(FlowEuler):
    """Another scheduler for flows: the noise levels are known, its sampler is not."""

    name: str = ""

    def sample(self, noise: Tensor, steps: int, run: Run) -> Tensor:
        """Raise ValueError."""
        raise _not_replayed(self.name)


def _not_replayed(name: str) -> ValueError:
    return ValueError(f"the sampler of {clipped(name)} is not among those that are known: {', '.join(CLASSES)}")


def from_config(config: Mapping[str, Any], where: str) -> Scheduler:
    """The scheduler that a file describes.

    Args:
        config: what ``scheduler_config.json`` holds.
        where: the file, for messages.

    Raises:
        ValueError: a class of which not even the noise levels are known, or settings that are no settings of it.
    """
    name = config.get("_class_name")
    if not isinstance(name, str):
        raise ValueError(f"{where} does not name a scheduler (_class_name)")
    if name in CLASSES:
        return read(CLASSES[name], config, where)
    if name.startswith("FlowMatch"):
        return read(OtherFlow, {**config, "name": name}, where)
    if "beta_schedule" in config:
        return read(OtherTable, {**config, "name": name}, where)
    raise ValueError(f"{where}: the scheduler is {clipped(name)!r}; those that are known: {', '.join(CLASSES)}")
