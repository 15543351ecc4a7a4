"""Every choice of a sampling run as plain values: what the command line exposes and is stored beside the images."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.denoisers.shapes import Labels, label_rows
from elucidiff.design import schedules, steps, table
from elucidiff.design.values import check_positive
from elucidiff.sampling.chunks import FixedBatch
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.grid import clamp_range
from elucidiff.sampling.loop import Step, sample
from elucidiff.sampling.rk45 import RK45
from elucidiff.sampling.seeds import SeededNoise
from elucidiff.sampling.solvers import RK2, Euler, Heun, Solver

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
        labels: the class labels used, rows (B, label_dim), or None.
        sigmas: the noise levels asked for, (N + 1,) float64, within the denoiser's range.
    """

    x: Tensor
    nfe: int | Tensor
    seeds: list[int]
    labels: Tensor | None
    sigmas: Tensor


@dataclass(frozen=True)
class Prepared:
    """A :class:`Sampler` made ready for one denoiser: the arguments of :func:`~elucidiff.sampling.sample`.

    Attributes:
        sigmas: noise levels (N + 1,), float64.
        solver: takes the steps.
        schedule: sigma(t) and s(t).
        churn: noise to add.
    """

    sigmas: Tensor
    solver: Solver
    schedule: schedules.Schedule
    churn: Churn


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
        known = {field.name: str(field.type) for field in fields(cls)}
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
                raise ValueError(f"there is no sampling option {name!r}: {hint}")
        return cls(**{name: _plain(name, value, known[name]) for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """All choices as JSON-able values; infinity becomes the string "inf"."""
        return {name: "inf" if value == math.inf else value for name, value in asdict(self).items()}

    def unused(self, given: Collection[str]) -> list[str]:
        """Those of the options ``given`` by name that have no effect beside the choices made here."""
        effective = {
            "rho": self.steps == "karras",
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
        low, high = clamp_range(denoiser, *self._range())
        return Prepared(self._levels(low, high), self._solver(), self._schedule(low, high), self._churn())

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
            denoiser: D; its ``sigma_min``, ``sigma_max``, ``round_sigma``, ``sample_shape`` and ``label_dim`` are
                respected where it has them.
            seeds: one integer a sample.
            labels: class indices (B,), rows (B, label_dim), or one index for all; a tensor, list or NumPy array. By
                default each seed draws a class, if there are classes.
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
        label_dim = getattr(denoiser, "label_dim", 0)
        # Always drawn, so that given labels leave the noise as is.
        drawn = noise.labels(label_dim) if label_dim else None
        chosen = drawn if labels is None else torch.as_tensor(labels)
        if chosen is not None and chosen.ndim == 0:
            chosen = chosen.expand(len(noise.seeds))
        rows = None if chosen is None else label_rows(chosen, label_dim).to(place)

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

    def _range(self) -> tuple[float, float]:
        """The range of noise levels before the denoiser's own is respected: each spacing has its customary one."""
        match self.steps:
            case "vp":
                times = steps.vp_times(2, self.epsilon_s)
                high, low = schedules.VP().sigma(times).tolist()
            case "ve":
                low, high = 0.02, 100.0
            case "iddpm":
                low, high = 0.002, 81.0
            case _:
                low, high = 0.002, 80.0
        return low if self.sigma_min is None else self.sigma_min, high if self.sigma_max is None else self.sigma_max

    def _levels(self, low: float, high: float) -> Tensor:
        match self.steps:
            case "karras":
                return steps.karras(self.n, low, high, self.rho)
            case "vp":
                return steps.vp(self.n, low, high, self.epsilon_s)
            case "ve":
                return steps.ve(self.n, low, high)
            case "iddpm":
                return steps.iddpm(self.n, low, high, self.m, self.c1, self.c2)
            case _:
                return steps.log_uniform(self.n, low, high)

    def _schedule(self, low: float, high: float) -> schedules.Schedule:
        scaling = {} if self.scaling is None else {"scaling": self.scaling}
        match self.schedule:
            case "edm":
                return schedules.EDM(**scaling)
            case "vp":
                return schedules.VP.fit(low, high, self.epsilon_s, **scaling)
            case "ve":
                return schedules.VE(**scaling)
            case _:
                return schedules.Flow(**scaling)

    def _churn(self) -> Churn:
        return Churn(self.churn, self.churn_sigma_min, self.churn_sigma_max, self.noise_scale)

    def _solver(self) -> Solver:
        solvers: dict[str, Solver] = {
            "heun": Heun(),
            "euler": Euler(),
            "rk2": RK2(self.alpha),
            "rk45": RK45(self.rtol, self.atol),
        }
        return solvers[self.solver]


def to_uint8(x: Tensor) -> Tensor:
    """Images in [-1, 1] as 8-bit ones: 127.5 x + 128, clipped to [0, 255] and truncated; same shape."""
    return (x * 127.5 + 128).clip(0, 255).to(torch.uint8)


def _device(denoiser: object) -> torch.device:
    """Where a module's first parameter or buffer is; the CPU for anything else."""
    if isinstance(denoiser, nn.Module):
        for tensor in (*denoiser.parameters(), *denoiser.buffers()):
            return tensor.device
    return torch.device("cpu")


def _plain(name: str, value: Any, kind: str) -> Any:
    """``value`` if it is of the type that the field's annotation ``kind`` says, "inf" and integers made floats."""
    if value is None and "None" in kind:
        return None
    if isinstance(value, str) and kind.startswith("str"):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and kind == "int":
        return value
    if kind.startswith("float"):
        if value == "inf":
            return math.inf
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    raise ValueError(f"sampling option {name} is {value!r}, but must be of type {kind}")
