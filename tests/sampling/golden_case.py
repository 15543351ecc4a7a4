"""The settings of a golden sampler case in our terms, and the denoiser it was run with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.sampling import Sampler

_OF_STEPS = {
    "karras": {"num_steps": "n", "sigma_min": "sigma_min", "sigma_max": "sigma_max", "rho": "rho"},
    "vp": {"num_steps": "n", "sigma_min": "sigma_min", "sigma_max": "sigma_max", "epsilon_s": "epsilon_s"},
    "ve": {"num_steps": "n", "sigma_min": "sigma_min", "sigma_max": "sigma_max"},
    "iddpm": {
        "num_steps": "n",
        "sigma_min": "sigma_min",
        "sigma_max": "sigma_max",
        "M": "m",
        "C_1": "c1",
        "C_2": "c2",
    },
}
_OF_CHURN = {"S_churn": "amount", "S_min": "sigma_min", "S_max": "sigma_max", "S_noise": "noise_scale"}


def sampler_of(settings: dict[str, Any]) -> Sampler:
    """The sampler with the settings of a case; "heun" with an alpha is our "rk2"."""

    def chosen(kind: str, names: dict[str, str]) -> dict[str, Any]:
        return {"type": kind, **{ours: settings[theirs] for theirs, ours in names.items() if theirs in settings}}

    steps = settings.get("discretization", "edm")
    steps = "karras" if steps == "edm" else steps
    schedule = {"linear": "edm", "vp": "vp_fitted", "ve": "ve"}[settings.get("schedule", "linear")]
    solver: dict[str, Any] = {"type": settings.get("solver", "heun")}
    if "alpha" in settings and solver["type"] == "heun":
        solver = {"type": "rk2", "alpha": settings["alpha"]}
    fitted = {"epsilon_s": settings["epsilon_s"]} if schedule == "vp_fitted" and "epsilon_s" in settings else {}
    return Sampler.from_plain(
        {
            "steps": chosen(steps, _OF_STEPS[steps]),
            "schedule": {"type": schedule, "scaling": settings.get("scaling", "none"), **fitted},
            "solver": solver,
            "churn": chosen("churn", _OF_CHURN),
        }
    )


class GoldenDenoiser:
    """The posterior mean over ``points`` with the range and rounding of a case; notes the noise levels asked for."""

    def __init__(self, case: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.posterior = DataPosterior(tensors["points"])
        self.sample_shape = self.posterior.sample_shape
        self.sigma_min = float(case["net"]["sigma_min"])
        self.sigma_max = float(case["net"]["sigma_max"])
        self.asked: list[Tensor] = []
        if case["net"]["rounds"]:
            table = tensors["round_table"]
            self.round_sigma = lambda sigma: table[(sigma[..., None] - table).abs().argmin(-1)]

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        self.asked.append(sigma)
        return self.posterior(x, sigma, labels)

    @property
    def net_sigmas(self) -> Tensor:
        return torch.stack(self.asked)
