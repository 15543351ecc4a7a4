"""Conditions of any shape are padded, split and selected with the samples that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.denoisers.adapters import AdaptedDenoiser, ContinuousTime
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.guided import ClassifierFree
from elucidiff.sampling import Churn, SeededNoise, encode, sample

COUNT, SHAPE = 16, (1, 4, 4)


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


TOKENS = numbers(COUNT, 5, 3, seed=1)
FIELDS = {"field": numbers(COUNT, 2, 4, 4, seed=2), "mask": numbers(COUNT, 1, 4, 4, seed=3) > 0}


class OfTokens(nn.Module):
    """A network F(x, t, tokens): attention of each value over a sequence (B, L, 3)."""

    label_kind, sample_shape = "conditions", SHAPE

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(numbers(1, 3, seed=4))
        self.unconditional = torch.zeros(1, 5, 3)

    def forward(self, x: Tensor, c_noise: Tensor, tokens: Tensor) -> Tensor:
        values = x.flatten(1)[..., None] * self.query + c_noise.reshape(-1, 1, 1)
        shares = (values @ tokens.expand(len(x), -1, -1).mT).softmax(-1)
        return (shares @ tokens).mean(-1).reshape(x.shape)


class OfFields(nn.Module):
    """A network F(x, t, {field, mask}): a convolution of what the mask leaves of a field."""

    label_kind, sample_shape = "conditions", SHAPE

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 1, 3, padding=1)
        for index, parameter in enumerate(self.mix.parameters()):
            parameter.data = 0.3 * numbers(*parameter.shape, seed=index)

    def forward(self, x: Tensor, c_noise: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        seen = torch.where(given["mask"], given["field"], 0.0).expand(len(x), -1, -1, -1)
        return self.mix(torch.cat([x, seen], dim=1)) + c_noise.reshape(-1, 1, 1, 1)


CASES: dict[str, tuple[nn.Module, Conditions]] = {"tokens": (OfTokens(), TOKENS), "fields": (OfFields(), FIELDS)}


def some(conditions: Any, rows: slice) -> Any:
    return conditions[rows] if isinstance(conditions, Tensor) else {k: v[rows] for k, v in conditions.items()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [1, 3, 16])
@pytest.mark.parametrize("options", [{}, {"churn": Churn(3.0)}, {"solver": "rk45:rtol=0.01,atol=0.01"}])
def test_samples_are_those_of_their_own_conditions_in_batches_of_any_size(
    name: str, size: int, options: dict[str, Any]
) -> None:
    network, conditions = CASES[name]
    denoiser = ed.Denoiser(network, ed.preconditioning.EDM())
    sigmas = ed.steps.karras(4, 0.05, 20.0)

    def drawn(seeds: list[int], labels: Any, **more: Any) -> Tensor:
        noise = SeededNoise(seeds)
        return sample(denoiser, noise.latents(SHAPE), sigmas, labels=labels, noise=noise, **options, **more)

    expected = torch.cat(
        [drawn([row], some(conditions, slice(row, row + 1)), batch_size=None) for row in range(COUNT)]
    )
    found = drawn(list(range(COUNT)), conditions, batch_size=size)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    # To the bit, whatever else is drawn with it.
    assert torch.equal(drawn([5, 6], some(conditions, slice(5, 7)), batch_size=size), found[5:7])
    # Each has its own: the neighbour's gives another sample.
    other = drawn([5], some(conditions, slice(6, 7)), batch_size=size)
    assert float((other - found[5:6]).abs().max()) > 0.01


def test_a_sampler_takes_conditions_from_numpy_and_one_for_all() -> None:
    denoiser = ed.Denoiser(OfTokens(), ed.preconditioning.EDM())
    sampler = ed.Sampler(steps="karras:n=4")
    every = sampler.run(denoiser, range(3), TOKENS[:1].expand(3, 5, 3))
    assert torch.equal(sampler.run(denoiser, range(3), TOKENS[:1]).x, every.x)
    assert torch.equal(sampler.run(denoiser, range(3), np.repeat(TOKENS[:1].numpy(), 3, 0)).x, every.x)
    assert torch.equal(ed.sample(denoiser, 3, labels=TOKENS[:1], sigmas="karras:n=4"), every.x)


def test_plain_functions_and_adapted_networks_get_conditions_as_they_are() -> None:
    seen: list[tuple[int, torch.dtype, torch.dtype]] = []

    def function(x: Tensor, sigma: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        seen.append((len(given["mask"]), given["mask"].dtype, given["field"].dtype))
        return x / (1 + sigma**2)

    ed.sample(function, torch.zeros(COUNT, *SHAPE), "karras:n=2", labels=FIELDS)
    adapted = AdaptedDenoiser(
        lambda x, t, given: function(x, t[0], given), "x0", ContinuousTime(ed.schedules.EDM()), any_labels=True
    )
    adapted(torch.zeros(COUNT, *SHAPE), 1.0, FIELDS)
    assert set(seen) == {(COUNT, torch.bool, torch.float32)}


def test_encoding_takes_them_too() -> None:
    denoiser = ed.Denoiser(OfFields(), ed.preconditioning.EDM())
    x = numbers(COUNT, *SHAPE, seed=8).double()
    every = encode(denoiser, x, [20.0, 0.1, 0.0], labels=FIELDS)
    one = encode(denoiser, x[7:8], [20.0, 0.1, 0.0], labels=some(FIELDS, slice(7, 8)))
    assert torch.equal(one.x, every.x[7:8])


def test_guidance_leads_away_from_the_counterpart_that_the_network_states_or_that_is_given() -> None:
    denoiser = ed.Denoiser(OfTokens(), ed.preconditioning.EDM())
    x = numbers(3, *SHAPE, seed=6)
    towards, zeros, negative = (denoiser(x, 2.0, given) for given in (TOKENS[:3], torch.zeros(1, 5, 3), TOKENS[3:4]))
    for guided, away in (
        (ClassifierFree(denoiser, 3.0), zeros),
        (ClassifierFree(denoiser, 3.0, negative=TOKENS[3:4]), negative),
    ):
        torch.testing.assert_close(guided(x, 2.0, TOKENS[:3]), away + 3 * (towards - away), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="conditions that stand for none"):
        ClassifierFree(ed.Denoiser(OfFields(), ed.preconditioning.EDM()), 3.0)
    with pytest.raises(ValueError, match=r"have the shapes \(5, 3\), those to guide to \(4, 3\)"):
        ClassifierFree(denoiser, 3.0)(x, 2.0, TOKENS[:3, :4])


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (TOKENS[:2], "there are 2 label rows for 3 samples"),
        ({"mask": TOKENS[:2]}, "there are 2 'mask' rows for 3 samples"),
        ({}, "the mapping of conditions is empty"),
        ({"mask": torch.tensor(1.0)}, "the condition 'mask' has no batch dimension"),
        ({"mask": object()}, "the condition 'mask' is <object"),
    ],
)
def test_what_is_no_condition_is_refused_before_work_starts(labels: Any, says: str) -> None:
    def function(x: Tensor, sigma: Tensor, labels: Any) -> Tensor:
        raise AssertionError("called")

    with pytest.raises(ValueError, match=says):
        ed.sample(function, torch.zeros(3, *SHAPE), "karras:n=2", labels=labels)


def test_denoisers_of_classes_refuse_a_mapping() -> None:
    posterior = ed.ideal.DataPosterior(torch.zeros(2, *SHAPE), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="labels are a mapping of conditions, but this denoiser takes labels of 2"):
        ed.sample(posterior, torch.zeros(3, *SHAPE), "karras:n=2", labels=FIELDS)
