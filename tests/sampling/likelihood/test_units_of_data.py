"""Likelihoods of fields are densities in the units of the data: against the closed form of a Gaussian."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

import elucidiff as ed
from elucidiff import parts
from elucidiff.data import Dataset, Log, Scaling, Standard
from elucidiff.sampling.likelihood.measuring import Likelihood, measure

SIGMA_MIN = 1e-3


class Unit(ed.denoisers.base.DenoiserModule):
    """D of independent values of unit variance, as a model sees them: x / (1 + sigma^2)."""

    sample_shape = (2, 3)

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        self.facts["data"] = {"dtype": "float32", "scaling": parts.to_plain(scaling)}

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, labels: object = None) -> torch.Tensor:
        return x / (1 + torch.as_tensor(sigma, dtype=x.dtype) ** 2).reshape(-1, 1, 1)


@pytest.mark.parametrize(
    ("scaling", "log_density"),
    [
        (
            Standard((280.0, 0.0), (10.0, 1e-3)),
            lambda x: norm(280, 10).logpdf(x[:, 0]).sum(1) + norm(0, 1e-3).logpdf(x[:, 1]).sum(1),
        ),
        (
            Log(channels=(1,), offsets=(0.0, 0.5), means=(280.0, -1.0), stds=(10.0, 2.0)),
            lambda x: (
                norm(280, 10).logpdf(x[:, 0]).sum(1)
                + (norm(-1, 2).logpdf(np.log(x[:, 1] + 0.5)) - np.log(x[:, 1] + 0.5)).sum(1)
            ),
        ),
    ],
    ids=["standard", "log"],
)
@pytest.mark.filterwarnings("ignore")
def test_bits_are_those_of_the_density_in_the_units_of_the_data(scaling: Scaling, log_density: object) -> None:
    z = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    fields = scaling.to_data(z)
    choices = Likelihood(steps=ed.steps.Karras(8, SIGMA_MIN, 200.0), divergence="exact")
    blocks = measure(Unit(scaling), Dataset.from_arrays(fields), range(4), choices, device=torch.device("cpu"))
    found = [each for block in blocks for each in block]
    bits = np.array([each.bits[0] for each in found])
    expected = -log_density(fields.double().numpy()) / (6 * math.log(2))  # type: ignore[operator]
    np.testing.assert_allclose(bits, expected, atol=2e-3)
