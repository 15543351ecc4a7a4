"""Every choice of a sampling run as plain values: what the command line exposes and is stored beside the images."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.denoisers.guided import guided
from elucidiff.denoisers.guided_checks import check_guidance
from elucidiff.denoisers.known_labels import known_labels
from elucidiff.denoisers.shapes import Labels
from elucidiff.design import schedules, steps, table
from elucidiff.design.values import check_positive
from elucidiff.sampling.arguments import check_arguments, seeds_from
from elucidiff.sampling.beginning import begin
from elucidiff.sampling.chunks import FixedBatch
from elucidiff.sampling.combining import check_combination, check_history
from elucidiff.sampling.grid import noise_grid
from elucidiff.sampling.loop import Step, sample
from elucidiff.sampling.plain_values import arguments_from, checked, to_plain
from elucidiff.sampling.prepared import Prepared, prepare
from elucidiff.sampling.ranges import warn_of_range
from elucidiff.sampling.solver_names import SETTINGS, SOLVERS
from elucidiff.suggest import suggestion

STEPS = (*steps.NAMES, "levels")
SCHEDULES = tuple(schedules.NAMES)


@dataclass(frozen=True)
class SampleResult:
    """What a run returns.

    Attributes:
        x: the samples (B, C, *spatial), float64 (float32 on a device without it); images are in [-1, 1].
        nfe: network evaluations per sample: one number, or (B,) from an adaptive solver.
        seeds: the seed of each sample.
        labels: the labels used, rows (B, label_dim), or (1, label_dim) for all, or None. Where the data number the
            classes otherwise than 0 to label_dim - 1, the columns are these numbers: see
            :meth:`.KnownLabels.by_number`.
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
        steps: how noise levels are spaced: karras, vp, ve, iddpm or log_uniform; or levels, those given.
        n: number of steps N.
        sigma_min: lowest noise level before 0; by default that of the spacing. Clamped to the denoiser's range.
        sigma_max: highest noise level, likewise.
        rho: exponent of karras steps.
        epsilon_s: time of the lowest noise level; for vp steps and for the vp schedule, which is fitted to the range.
        m: length of the iddpm table.
        c1: bound of the iddpm table.
        c2: offset of the iddpm table.
        schedule: the curve that the solver follows: edm, vp, ve, flow or exponential.
        scaling: none or vp; by default the schedule's own.
        solver: heun, euler, rk2, rk45; with one evaluation a step dpmpp_2m, dpmpp_3m, unipc, deis, ipndm; and with
            noise dpmpp_1_sde, dpmpp_2m_sde, dpmpp_3m_sde, er_sde, sa_solver. See :mod:`elucidiff.sampling.solvers`.
        alpha: position of the second evaluation of rk2. Beyond 1 it lies past the end of the step, at the last steps
            past noise level 0: see :class:`.RK2`.
        rtol: relative tolerance of rk45.
        atol: absolute tolerance of rk45.
        order: how many evaluations unipc, deis, ipndm, er_sde or sa_solver combine; by default the solver's own.
        corrector_order: how many sa_solver's corrector combines; 0 for none.
        variant: of unipc, bh1 or bh2.
        eta: how fast dpmpp_*_sde replaces noise: 0 is the ODE, 1 the SDE.
        tau: how much noise sa_solver adds: 0 is the ODE, 1 the SDE.
        tau_sigma_min: lowest noise level at which it does.
        tau_sigma_max: highest noise level at which it does.
        churn: S_churn, the amount of noise added over the run; 0 is deterministic.
        churn_sigma_min: S_tmin, lowest noise level that is raised.
        churn_sigma_max: S_tmax, highest noise level that is raised.
        restarts: how many times the run goes back up from restart_sigma_min to restart_sigma_max; see
            :class:`.Restart`.
        restart_steps: steps on each way down again.
        restart_sigma_min: where it goes up, to the nearest noise level of the run.
        restart_sigma_max: how far it goes up.
        noise_scale: S_noise, standard deviation of the noise that churn or restarts add.
        guidance: weight w of classifier-free guidance, or of autoguidance where there is a guide; 1 for none.
        guidance_sigma_min: noise level above which guidance acts.
        guidance_sigma_max: highest noise level at which it acts.
        levels: the noise levels themselves (N + 1,), decreasing, the last 0; for steps "levels".

    Raises:
        TypeError: a value is not of its kind.
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
    order: int | None = None
    corrector_order: int | None = None
    variant: str = "bh2"
    eta: float = 1.0
    tau: float = 1.0
    tau_sigma_min: float = 0.05
    tau_sigma_max: float = 1.0
    churn: float = 0.0
    churn_sigma_min: float = 0.0
    churn_sigma_max: float = math.inf
    restarts: int = 0
    restart_steps: int = 3
    restart_sigma_min: float = 0.06
    restart_sigma_max: float = 0.3
    noise_scale: float = 1.0
    guidance: float = 1.0
    guidance_sigma_min: float = 0.0
    guidance_sigma_max: float = math.inf
    levels: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, checked(field.name, getattr(self, field.name), str(field.type)))
        for name, known in (("steps", STEPS), ("schedule", SCHEDULES), ("solver", SOLVERS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} {getattr(self, name)!r} is unknown; {suggestion(getattr(self, name), known)}"
                )
        if self.steps == "levels" and self.levels is None:
            raise ValueError("steps is 'levels', but none are given: set levels to noise levels that end with 0")
        # Everything that can be wrong without a denoiser is found here, before any work starts.
        check_positive(rho=self.rho)
        check_guidance(self.guidance, self.guidance_sigma_min, self.guidance_sigma_max)
        prepared = self.prepare(None)
        check_combination(prepared.solver, prepared.churn, prepared.restarts)
        grid = noise_grid(
            None, prepared.schedule, prepared.sigmas, prepared.churn, torch.device("cpu"), prepared.restarts
        )
        check_history(prepared.solver, grid)

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
            "n": self.solver != "rk45" and self.steps != "levels",
            # What levels leave of the range is that of the vp schedule, which is fitted to it.
            **dict.fromkeys(("sigma_min", "sigma_max"), self.steps != "levels" or self.schedule == "vp"),
            "rho": self.steps == "karras" and self.solver != "rk45",
            "epsilon_s": "vp" in (self.steps, self.schedule),
            **dict.fromkeys(("m", "c1", "c2"), self.steps == "iddpm"),
            **{name: name in SOLVERS[self.solver].settings for name in SETTINGS},
            **dict.fromkeys(("tau_sigma_min", "tau_sigma_max"), self.solver == "sa_solver" and self.tau > 0),
            **dict.fromkeys(("churn_sigma_min", "churn_sigma_max"), self.churn > 0),
            **dict.fromkeys(("restart_steps", "restart_sigma_min", "restart_sigma_max"), self.restarts > 0),
            "noise_scale": self.churn > 0 or self.restarts > 0,
            **dict.fromkeys(("guidance_sigma_min", "guidance_sigma_max"), self.guidance != 1),
            "levels": self.steps == "levels",
        }
        return [field.name for field in fields(self) if field.name in given and not effective.get(field.name, True)]

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

    def guided(self, denoiser: Any, guide: Any | None = None) -> Any:
        """The denoiser that these choices sample from: ``denoiser`` under guidance, or itself without.

        Args:
            denoiser: D.
            guide: the worse model of autoguidance; None for classifier-free guidance.

        Raises:
            ValueError: the denoiser cannot be guided so, or the guide does not fit it; see :func:`.guided`.
        """
        interval = (self.guidance_sigma_min, self.guidance_sigma_max)
        return guided(denoiser, self.guidance, interval, guide)

    def run(
        self,
        denoiser: Callable[..., Tensor],
        seeds: Sequence[int] | int,
        labels: Labels | int | str | None = None,
        *,
        any_class: bool = False,
        shape: Sequence[int] | None = None,
        batch_size: int = 16,
        callback: Callable[[Step], object] | None = None,
        device: torch.device | str | None = None,
        guide: Callable[..., Tensor] | None = None,
    ) -> SampleResult:
        """Draw one sample a seed.

        A sample depends on its seed, its label, ``batch_size`` and the sampler, and, on one kind of machine, to the
        last bit on nothing else: see :class:`.FixedBatch`.

        Args:
            denoiser: D; its ``sigma_min``, ``sigma_max``, ``round_sigma``, ``sample_shape`` and what it knows of its
                labels (``known_labels``, or ``label_dim``, ``label_kind`` and ``label_examples``) are respected.
            seeds: one integer a sample, or how many samples: then 0, 1, 2, ...
            labels: class numbers or names (B,), rows (B, label_dim), or one class for all; a tensor, list or NumPy
                array. A denoiser of label vectors takes rows alone. By default each seed draws a class as often as
                the training data had it, where that is known, or one of the denoiser's ``label_examples``;
                ``"uniform"`` draws the classes that were trained equally often.
            any_class: take classes that the training data did not have, which are refused otherwise.
            shape: shape (C, *spatial) of a sample; by default the denoiser's ``sample_shape``.
            batch_size: number of samples in every call of the denoiser.
            callback: called with a :class:`.Step` after each step, about all samples at once.
            device: where to compute; a denoiser that is a module is moved there. By default where it is.
            guide: the worse model of autoguidance, likewise; None for classifier-free guidance, or none.

        Warns:
            UserWarning: the noise levels do not suit the data that the denoiser says it was made for.

        Raises:
            TypeError: an argument is not of its kind.
            ValueError: the labels or the shape do not fit, the denoiser supports none of the noise levels, or it
                cannot be guided as asked for; or (:class:`.NotFiniteError`) a sample became NaN or infinite: the
                message names its seed, and the step.
        """
        check_arguments(denoiser, None, (), None, callback)
        seeds = seeds_from(seeds)
        warn_of_range(self.sigmas(denoiser), denoiser)
        denoiser = self.guided(denoiser, guide)
        if isinstance(denoiser, nn.Module) and device is not None:
            denoiser.to(device)
        beginning = begin(denoiser, seeds, labels, shape, device, any_class=any_class)
        prepared = self.prepare(denoiser)
        nfe: int | Tensor = 0

        def watch(step: Step) -> None:
            nonlocal nfe
            nfe = step.nfe
            if callback is not None:
                callback(step)

        x = sample(
            FixedBatch(denoiser, batch_size),
            beginning.latents,
            prepared.sigmas,
            solver=prepared.solver,
            schedule=prepared.schedule,
            churn=prepared.churn,
            restarts=prepared.restarts,
            labels=beginning.labels,
            noise=beginning.noise,
            callback=watch,
        )
        rows = beginning.labels
        rows = None if rows is None else known_labels(denoiser).by_number(rows)
        return SampleResult(x, nfe, beginning.noise.seeds, rows, prepared.sigmas)
