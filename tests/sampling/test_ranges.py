"""The library says when noise levels do not suit the data."""

from __future__ import annotations

import re
import warnings

import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.denoisers.base import as_denoiser
from elucidiff.denoisers.guided import Autoguided
from elucidiff.sampling.grid import range_for


class Zero(nn.Module):
    sample_shape = (1, 2, 2)

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        return 0 * x


def model(std: float, measured: float | None = None) -> ed.Denoiser:
    denoiser = ed.Denoiser(Zero(), ed.preconditioning.EDM(std))
    if measured is not None:
        denoiser.facts["data"] = {"sigma_data": measured}
    return denoiser


def test_the_standard_deviation_that_counts() -> None:
    assert model(0.5).data_std == 0.5
    assert model(0.5, 3.0).data_std == 3.0
    assert Autoguided(model(2.0), model(2.0), 2.0).data_std == 2.0
    assert as_denoiser(lambda x, sigma: x).data_std is None
    assert range_for(5.0) == (0.02, 800.0)


@pytest.mark.parametrize(
    ("denoiser", "sigmas", "warns"),
    [
        (model(0.5), None, False),
        (model(100.0), None, True),
        (model(0.5, 100.0), None, True),
        (model(100.0), ed.steps.karras(6, 0.4, 16e3), False),
        (model(0.5), ed.steps.karras(6, 0.002, 4.0), True),
        (model(0.5), ed.steps.karras(6, 0.1, 80.0), True),
    ],
)
def test_a_range_that_does_not_suit_the_data_is_warned_of(
    denoiser: ed.Denoiser, sigmas: Tensor | None, warns: bool
) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        ed.sample(denoiser, 1, sigmas)
    assert [str(each.message)[:15] for each in found] == ["sigma goes from"] * warns
    assert all(each.filename == __file__ for each in found)
    levels = {} if sigmas is None else {"steps": ed.steps.Levels(tuple(sigmas.tolist()))}
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        ed.Sampler(**levels).run(denoiser, 1)
    assert [str(each.message)[:15] for each in found] == ["sigma goes from"] * warns


def test_what_it_says() -> None:
    says = r"sigma goes from 80 to 0.002, but .* standard deviation of 100: .* sigma_max = 16000, sigma_min = 0.4"
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        ed.sample(model(100.0), torch.ones(1, 1, 2, 2))
    assert [bool(re.search(says, str(each.message))) for each in found] == [True]
    assert found[0].category is UserWarning
