"""What a table of results says of a sampler."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from elucidiff.sampling.sampler import Sampler

_NUMBERS = ("rho", "churn", "churn_sigma_min", "churn_sigma_max", "noise_scale", "alpha", "guidance")


def sampler_columns(sampler: Sampler, denoiser: Any) -> dict[str, Any]:
    """The columns of a :class:`.Row` that a sampler settles; those without effect beside the others are left out.

    Args:
        sampler: all sampling choices.
        denoiser: D, guided already; its range is respected.

    Raises:
        ValueError: the denoiser supports none of the noise levels.
    """
    sigmas, unused = sampler.sigmas(denoiser), sampler.unused([field.name for field in fields(Sampler)])
    return {
        "solver": sampler.solver,
        "schedule": sampler.schedule,
        "steps": sampler.steps,
        "sigma_min": _plain(float(sigmas[-2])),
        "sigma_max": _plain(float(sigmas[0])),
        **{name: float(getattr(sampler, name)) for name in _NUMBERS if name not in unused},
    }


def _plain(sigma: float) -> float:
    """Without what rounding does to the last digits, so that equal ranges are equal numbers."""
    return float(f"{sigma:.12g}")
