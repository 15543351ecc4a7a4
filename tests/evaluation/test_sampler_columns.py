"""A table of results says of a sampler what has an effect, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.evaluation.results import sampler_columns
from elucidiff.sampling import Sampler
from elucidiff.sampling.churn import Churn
from tests.sampling.optimise.mixtures import mixture

PLAIN = {"solver": "heun", "schedule": "edm", "steps": "karras", "rho": 7.0, "sigma_min": 0.002, "sigma_max": 80.0,
         "churn": 0.0, "guidance": 1.0}  # fmt: skip


@pytest.mark.parametrize(
    ("sampler", "differences"),
    [
        (Sampler(), {}),
        (Sampler(steps="karras:n=5,rho=3.0"), {"rho": 3.0}),
        (Sampler(steps="log_uniform"), {"steps": "log_uniform", "rho": None}),
        (Sampler(solver="rk2:alpha=0.5"), {"solver": "rk2:alpha=0.5", "alpha": 0.5}),
        (Sampler(solver="rk45"), {"solver": "rk45", "rho": None}),
        (Sampler(churn=Churn(sigma_min=0.1)), {}),
        (
            Sampler(churn=Churn(amount=30.0, sigma_min=0.05, noise_scale=1.007)),
            {"churn": 30.0, "churn_sigma_min": 0.05, "churn_sigma_max": math.inf, "noise_scale": 1.007},
        ),
        (Sampler(steps="karras:sigma_max=40.0", guidance=2.0), {"guidance": 2.0, "sigma_max": 40.0}),
        (Sampler(steps="karras:sigma_min=0.01", schedule="vp_fitted"), {"schedule": "vp_fitted", "sigma_min": 0.01}),
    ],
)
def test_what_has_an_effect(sampler: Sampler, differences: dict[str, Any]) -> None:
    expected = {name: value for name, value in (PLAIN | differences).items() if value is not None}
    assert sampler_columns(sampler, mixture()) == expected


def test_the_range_is_that_of_the_denoiser() -> None:
    class Narrow(GaussianMixture):
        sigma_min, sigma_max = 0.03, 20.0

    means, covariances, weights = (getattr(mixture(), name) for name in ("means", "covariances", "weights"))
    columns = sampler_columns(Sampler(), Narrow(means, covariances, weights))
    assert (columns["sigma_min"], columns["sigma_max"]) == (0.03, 20.0)
