"""Every choice of a sampling run as plain values: what the command line exposes and is stored beside the images."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.denoisers.shapes import Labels
from elucidiff.design import schedules, steps, table
from elucidiff.design.values import check_positive
from elucidiff.sampling.chunks import FixedBatch
from elucidiff.sampling.labels import labels_for
from elucidiff.sampling.loop import Step, sample
from elucidiff.sampling.plain_values import arguments_from, to_plain
from elucidiff.sampling.prepared import Prepared, prepare
from elucidiff.sampling.seeds import SeededNoise

STEPS = tuple(steps.NAMES)
SCHEDULES = tuple(schedules.NAMES)
SOLVERS = ("heun", "euler", "rk2", "rk45")


@dataclass(frozen=True)
class SampleResult:
    """What a run returns.

    Attributes:
        x: the samples (B, C, *spatial), float64 (float32 on a device without it); images are in [-1, 1].
        nfe: network evaluations per sample: one number, or (B,) from an adaptive solver.
        seeds: the seed of each sample.
        labels: the labels used, rows (B, label_dim), or (1, label_dim) for all, or None.
        sigmas: the noise levels asked for, (N + 1,) float64, within the denoiser's range.
    """

    x: Tensor
    nfe: int | Tensor
    seeds: list[int]
    labels: Tensor | None
    sigmas: Tensor


@dataclass(frozen=True)
class Sampler:
    """All sampling choices of Karras et al. 2022, Table 1, and Algorithm 2, each independent of the others.

    Args:
        steps: how noise levels are spaced: karras, vp, ve, iddpm or log_uniform.
        n: number of steps N.
        sigma_min: lowest noise level before 0; by default that of the spacing. Clamped to the denoiser's range.
        sigma_max: highest noise level, likewise.
        rho: exponent of karras steps.
        epsilon_s: time of the lowest noise level; for vp steps and for the vp schedule, which is fitted to the range.
        m: length of the iddpm table.
        c1: bound of the iddpm table.
        c2: offset of the iddpm table.
        schedule: the curve that the solver follows: edm, vp, ve or flow.
        scaling: none or vp; by default the schedule's own.
        solver: heun, euler, rk2 or rk45.
        alpha: position of the second evaluation of rk2.
        rtol: relative tolerance of rk45.
        atol: absolute tolerance of rk45.
        churn: S_churn, the amount of noise added over the run; 0 is deterministic.
        churn_sigma_min: S_tmin, lowest noise level that is raised.
        churn_sigma_max: S_tmax, highest noise level that is raised.
        noise_scale: S_noise, standard deviation of the added noise.

    Raises:
        ValueError: a name is unknown or a value is out of its range.
    """

    steps: str = "karras"
    n: int = 18
    sigma_min: float | None = None
    sigma_max: float | None = None
    rho: float = 7.0
    epsilon_s: float = 1e-3
    m: int = 1000
    c1: float = 0.001
    c2: float = 0.008
    schedule: str = "edm"
    scaling: str | None = None
    solver: str = "heun"
    alpha: float = 1.0
    rtol: float = 1e-5
    atol: float = 1e-5
    churn: float = 0.0
    churn_sigma_min: float = 0.0
    churn_sigma_max: float = math.inf
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        for name, allowed in (("steps", STEPS), ("schedule", SCHEDULES), ("solver", SOLVERS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(allowed)}")
        # Everything that can be wrong without a denoiser is found here, before any work starts.
        check_positive(rho=self.rho)
        self.prepare(None)
        if self.solver == "rk45" and self.churn > 0:
            raise ValueError("solver rk45 chooses its own steps, so it cannot be used with churn")

    @classmethod
    def from_table(cls, name: str, n: int = 18) -> Sampler:
        """The sampler of a column of Karras et al. 2022, Table 1: vp, ve, iddpm or edm.

        Raises:
            ValueError: there is no such column.
        """
        if name not in table.NAMES:
            raise ValueError(f"there is no column {name!r} in Table 1: choose one of {', '.join(table.NAMES)}")
        design = table.NAMES[name]
        return cls(
            steps=next(key for key, function in steps.NAMES.items() if function is design.steps),
            n=n,
            schedule=next(key for key, make in schedules.NAMES.items() if make is type(design.schedule)),
            solver=design.solver,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Sampler:
        """The inverse of :meth:`to_dict`; what is missing takes its default.

        Raises:
            ValueError: a name is unknown (the nearest one is suggested), or a value is of the wrong type or range.
        """
        return cls(**arguments_from(values, cls))

    def to_dict(self) -> dict[str, Any]:
        """All choices as JSON-able values; infinity becomes the string "inf"."""
        return to_plain(self)

    def unused(self, given: Collection[str]) -> list[str]:
        """Those of the options ``given`` by name that have no effect beside the choices made here."""
        effective = {
            # An adaptive solver takes its range from the steps, and chooses what lies between.
            "n": self.solver != "rk45",
            "rho": self.steps == "karras" and self.solver != "rk45",
            "epsilon_s": "vp" in (self.steps, self.schedule),
            **dict.fromkeys(("m", "c1", "c2"), self.steps == "iddpm"),
            "alpha": self.solver == "rk2",
            **dict.fromkeys(("rtol", "atol"), self.solver == "rk45"),
            **dict.fromkeys(("churn_sigma_min", "churn_sigma_max", "noise_scale"), self.churn > 0),
        }
        return [name for name, has_effect in effective.items() if name in given and not has_effect]

    def sigmas(self, denoiser: Any) -> Tensor:
        """The noise levels (N + 1,) for a denoiser, its range respected.

        Raises:
            ValueError: nothing of the range is left.
        """
        return self.prepare(denoiser).sigmas

    def prepare(self, denoiser: Any) -> Prepared:
        """These choices as objects, within the range of noise levels that the denoiser supports.

        Raises:
            ValueError: nothing of the range is left.
        """
        return prepare(self, denoiser)

    def run(
        self,
        denoiser: Callable[..., Tensor],
        seeds: Sequence[int],
        labels: Labels | int | None = None,
        *,
        shape: Sequence[int] | None = None,
        batch_size: int = 16,
        callback: Callable[[Step], object] | None = None,
        device: torch.device | str | None = None,
    ) -> SampleResult:
        """Draw one sample a seed.

        A sample depends on its seed, its label, ``batch_size`` and the sampler, and, on one kind of machine, to the
        last bit on nothing else: see :class:`.FixedBatch`.

        Args:
            denoiser: D; its ``sigma_min``, ``sigma_max``, ``round_sigma``, ``sample_shape``, ``label_dim``,
                ``label_kind`` and ``label_examples`` are respected where it has them.
            seeds: one integer a sample.
            labels: class indices (B,), rows (B, label_dim), or one index for all; a tensor, list or NumPy array. A
                denoiser of label vectors takes rows alone. By default each seed draws a class, if there are classes,
                or one of the denoiser's ``label_examples``.
            shape: shape (C, *spatial) of a sample; by default the denoiser's ``sample_shape``.
            batch_size: number of samples in every call of the denoiser.
            callback: called with a :class:`.Step` after each step, about all samples at once.
            device: where to compute; a denoiser that is a module is moved there. By default where it is.

        Raises:
            ValueError: the labels or the shape do not fit, or the denoiser supports none of the noise levels.
        """
        if isinstance(denoiser, nn.Module) and device is not None:
            denoiser.to(device)
        place = _device(denoiser) if device is None else torch.device(device)
        shape = getattr(denoiser, "sample_shape", ()) if shape is None else shape
        if not shape:
            raise ValueError("the denoiser does not state the shape of its samples: give shape=(C, *spatial)")

        noise = SeededNoise(seeds)
        latents = noise.latents(shape).to(place)
        rows = labels_for(denoiser, noise, labels)
        rows = None if rows is None else rows.to(place)
        prepared = self.prepare(denoiser)
        nfe: int | Tensor = 0

        def watch(step: Step) -> None:
            nonlocal nfe
            nfe = step.nfe
            if callback is not None:
                callback(step)

        x = sample(
            FixedBatch(denoiser, batch_size),
            latents,
            prepared.sigmas,
            solver=prepared.solver,
            schedule=prepared.schedule,
            churn=prepared.churn,
            labels=rows,
            noise=noise,
            callback=watch,
        )
        return SampleResult(x, nfe, noise.seeds, rows, prepared.sigmas)


def _device(denoiser: object) -> torch.device:
    """Where a module's first parameter or buffer is; the CPU for anything else."""
    if isinstance(denoiser, nn.Module):
        for tensor in (*denoiser.parameters(), *denoiser.buffers()):
            return tensor.device
    return torch.device("cpu")
