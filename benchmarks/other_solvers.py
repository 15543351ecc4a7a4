"""The deterministic solvers of diffusers and azula, driven on our noise levels with any denoiser.

They are used as released, with their defaults but for the order. What they are told is D(x; sigma) itself, in the
form that each asks for; their states are float64, as ours are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import azula.denoise
import azula.noise
import azula.sample
import diffusers
import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
Run = Callable[[Denoise, Tensor, Tensor], Tensor]
"""D, x at the first of the noise levels, and the levels, all positive, to x at the last of them."""


def of_diffusers() -> dict[str, Run]:
    """Schedulers of diffusers, one evaluation a step."""
    told = {"prediction_type": "sample"}
    makes: dict[str, Callable[[], Any]] = {
        "DPM++ 2M": lambda: diffusers.DPMSolverMultistepScheduler(**told, solver_order=2),
        "DPM++ 2M, heun": lambda: diffusers.DPMSolverMultistepScheduler(**told, solver_order=2, solver_type="heun"),
        "DPM++ 3M": lambda: diffusers.DPMSolverMultistepScheduler(**told, solver_order=3),
    }
    for order in (2, 3):
        makes[f"DEIS {order}"] = lambda order=order: diffusers.DEISMultistepScheduler(**told, solver_order=order)
        for variant in ("bh1", "bh2"):
            makes[f"UniPC {order}, {variant}"] = lambda order=order, variant=variant: (
                diffusers.UniPCMultistepScheduler(**told, solver_order=order, solver_type=variant)
            )
    runs = {name: _scaled(make) for name, make in makes.items()}
    runs["iPNDM 4"] = _ipndm
    runs["SA-Solver 3, 3, ODE"] = _scaled(
        lambda: diffusers.SASolverScheduler(
            **told, predictor_order=3, corrector_order=3, tau_func=lambda t: torch.zeros(())
        )
    )
    return runs


def of_azula() -> dict[str, Run]:
    """Samplers of azula, one evaluation a step."""
    kinds = {
        "zAB": azula.sample.zABSampler,
        "vAB": azula.sample.vABSampler,
        "zEAB": azula.sample.zEABSampler,
        "xEAB": azula.sample.xEABSampler,
        "REAB": azula.sample.REABSampler,
    }
    return {f"{name} {order}": _azula(kind, order) for name, kind in kinds.items() for order in (2, 3, 4)}


def _scaled(make: Callable[[], Any]) -> Run:
    """A scheduler that works in x = alpha y with alpha = 1 / sqrt(1 + sigma^2)."""

    def run(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's about how they convert tensors
            scheduler, alpha = _prepared(make(), sigmas), (1 + sigmas.square()).rsqrt()
            x = x * alpha[0]
            for i, t in enumerate(scheduler.timesteps):
                x = scheduler.step(denoise(x / alpha[i], sigmas[i]), t, x).prev_sample.double()
        return x / alpha[-1]

    return run


def _ipndm(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """Their iPNDM makes eps of x and output by beta x + alpha output, with beta = sigma alpha."""
    scheduler, alpha = _prepared(diffusers.IPNDMScheduler(), sigmas), (1 + sigmas.square()).rsqrt()
    scheduler.alphas, scheduler.betas = alpha, alpha * sigmas
    x = x * alpha[0]
    for i, t in enumerate(scheduler.timesteps):
        y = x / alpha[i]
        epsilon = (y - denoise(y, sigmas[i])) / sigmas[i]
        x = scheduler.step((epsilon - scheduler.betas[i] * x) / alpha[i], t, x).prev_sample
    return x / alpha[-1]


def _prepared(scheduler: Any, sigmas: Tensor) -> Any:
    steps = len(sigmas) - 1
    scheduler.set_timesteps(steps)
    scheduler.sigmas = sigmas.clone()
    scheduler.timesteps = torch.arange(steps, 0, -1)
    return scheduler


class _Levels(azula.noise.Schedule):
    """alpha = 1 and the given noise levels at evenly spaced times from 1 to 0, at which alone it is asked."""

    def __init__(self, sigmas: Tensor) -> None:
        self.sigmas = sigmas

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.sigmas[((1 - t) * (len(self.sigmas) - 1)).round().long()]
        return torch.ones_like(sigma), sigma


class _Told(azula.denoise.Denoiser):
    """D as azula calls it: at a time."""

    def __init__(self, denoise: Denoise, schedule: _Levels) -> None:
        super().__init__()
        self.denoise, self.schedule = denoise, schedule

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: Any) -> azula.denoise.DiracPosterior:
        return azula.denoise.DiracPosterior(mean=self.denoise(x_t, self.schedule(t)[1]))


def _azula(kind: Callable[..., Any], order: int) -> Run:
    def run(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
        told = _Told(denoise, _Levels(sigmas))
        settings = {"order": order, "steps": len(sigmas) - 1, "silent": True, "dtype": torch.float64}
        return kind(told, **settings)(x)

    return run
