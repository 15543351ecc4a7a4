"""The settings of a golden sampler case in our terms, and the denoiser it was run with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.sampling import Sampler

_NAMES = {
    "num_steps": "n",
    "sigma_min": "sigma_min",
    "sigma_max": "sigma_max",
    "rho": "rho",
    "epsilon_s": "epsilon_s",
    "M": "m",
    "C_1": "c1",
    "C_2": "c2",
    "S_churn": "churn",
    "S_min": "churn_sigma_min",
    "S_max": "churn_sigma_max",
    "S_noise": "noise_scale",
    "solver": "solver",
    "alpha": "alpha",
    "scaling": "scaling",
}


def sampler_of(settings: dict[str, Any]) -> Sampler:
    """The sampler with the settings of a case; "heun" with an alpha is our "rk2"."""
    values = {_NAMES[key]: value for key, value in settings.items() if key in _NAMES}
    values["steps"] = {"edm": "karras"}.get(settings.get("discretization", "edm"), settings.get("discretization"))
    values["schedule"] = {"linear": "edm"}.get(settings.get("schedule", "linear"), settings.get("schedule"))
    values.setdefault("scaling", "none")
    if "alpha" in values and values.get("solver", "heun") == "heun":
        values["solver"] = "rk2"
    return Sampler.from_plain(values)


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
