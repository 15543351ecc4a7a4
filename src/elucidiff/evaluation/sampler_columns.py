"""What a table of results says of a sampler."""

from __future__ import annotations

from typing import Any

from elucidiff import parts
from elucidiff.sampling.sampler import Sampler


def sampler_columns(sampler: Sampler, denoiser: Any) -> dict[str, Any]:
    """The columns of a :class:`.Row` that a sampler settles; those without effect beside the others are left out.

    Args:
        sampler: all sampling choices.
        denoiser: D, guided already; its range is respected.

    Raises:
        ValueError: the denoiser supports none of the noise levels.
    """
    sigmas = sampler.sigmas(denoiser)
    churn, restarts = sampler.churn, sampler.restarts
    columns = {
        "solver": parts.to_text(sampler.solver),
        "schedule": parts.to_text(sampler.schedule),
        "steps": parts.name_of(sampler.steps),
        "sigma_min": _plain(float(sigmas[-2])),
        "sigma_max": _plain(float(sigmas[0])),
        "rho": _setting(sampler.steps, "rho") if not sampler.solver.adaptive else None,
        "churn": 0.0 if churn is None else churn.amount,
        "churn_sigma_min": None if churn is None else churn.sigma_min,
        "churn_sigma_max": None if churn is None else churn.sigma_max,
        "noise_scale": restarts.noise_scale if restarts is not None else None if churn is None else churn.noise_scale,
        "alpha": _setting(sampler.solver, "alpha"),
        "guidance": 1.0 if sampler.guidance is None else sampler.guidance.weight,
    }
    return {name: value for name, value in columns.items() if value is not None}


def _setting(part: object, name: str) -> Any:
    """The value of a setting; None where the part has none of that name, as Heun's method has no alpha to choose."""
    return getattr(part, name) if name in {each.name for each in parts.settings(type(part))} else None


def _plain(sigma: float) -> float:
    """Without what rounding does to the last digits, so that equal ranges are equal numbers."""
    return float(f"{sigma:.12g}")
