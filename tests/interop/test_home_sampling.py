"""Sampling as at home: what is common to all libraries. Their numbers are in the tests of each format."""

from __future__ import annotations

import pytest
import torch

from elucidiff.denoisers.adapters import AdaptedDenoiser, ContinuousTime
from elucidiff.design import schedules
from elucidiff.interop import home_sample
from elucidiff.interop.home_sampling import draws, home, step_count


def denoiser(format: str | None) -> AdaptedDenoiser:
    made = AdaptedDenoiser(lambda x, t: x, "x0", ContinuousTime(schedules.EDM()), sample_shape=(1, 2))
    if format is not None:
        made.facts["home"] = {"format": format, "settings": {}}
    return made


def test_a_registered_sampler_is_called_with_its_options() -> None:
    @home("test")
    def sampler(denoiser, noise, steps, labels, step_noise, *, eta=0.0):
        return (noise * steps + eta).double()

    x = home_sample(denoiser("test"), torch.ones(3, 1, 2), 4, eta=0.5)
    assert x.dtype == torch.float32
    assert torch.equal(x, torch.full((3, 1, 2), 4.5))
    with pytest.raises(ValueError, match="the sampler of test has no option 'etta': did you mean 'eta'"):
        home_sample(denoiser("test"), torch.ones(3, 1, 2), 4, etta=0.5)
    with pytest.raises(ValueError, match=r"noise has shape \(3, 2, 2\), but the model makes samples of \(1, 2\)"):
        home_sample(denoiser("test"), torch.ones(3, 2, 2), 4)
    with pytest.raises(TypeError, match="noise must be a floating-point tensor"):
        home_sample(denoiser("test"), [1.0], 4)


def test_a_model_without_a_home() -> None:
    with pytest.raises(ValueError, match="has no home sampler: sample with"):
        home_sample(denoiser(None), torch.ones(3, 1, 2), 4)


def test_noise_of_the_steps() -> None:
    x = torch.zeros(2, 1, 2)
    given = torch.randn(3, 2, 1, 2)
    assert torch.equal(draws(given, None, x, 3)(1), given[1])
    fresh = draws(None, torch.Generator().manual_seed(0), x, 3)
    assert torch.equal(fresh(0), torch.randn(2, 1, 2, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match=r"\(4, 2, 1, 2\) is needed"):
        draws(given, None, x, 4)
    with pytest.raises(ValueError, match="give step_noise"):
        draws(None, None, x, 4)
    for wrong in (0, 2.5, True, "ddim10"):
        with pytest.raises(ValueError, match="whole number of steps"):
            step_count(wrong)
