"""Guided denoisers against their formulas, what they evaluate at which noise level, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from elucidiff.denoisers.base import as_denoiser
from elucidiff.denoisers.guided import Autoguided, ClassifierFree, Guidance
from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning
from tests.denoisers.guided_by import Watched, classes, gaussian, numbers
from tests.networks.small import small_network


def exactly(given: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-12)


def model(**settings: Any) -> Denoiser:
    settings = {"label_dim": 3, "label_dropout": 0.1, **settings}
    return Denoiser(small_network("ddpmpp", (1, 4, 4), **settings), preconditioning.EDM()).eval()


class TestFormula:
    @given(st.floats(0, 8), st.floats(-4, 4))
    def test_classifier_free_guidance_of_a_mixture(self, scale: float, log_sigma: float) -> None:
        mixture, x, sigma = classes(), 3 * numbers(6, 2, 1), math.exp(log_sigma)
        labels = torch.tensor([0, 1, 2, 0, 1, 2])
        # Class by class, as mixtures of their own: nothing of the labelled mixture is asked.
        members = [torch.tensor([0, 1]), torch.tensor([2]), torch.tensor([3])]
        parts = [_part(mixture, rows)(x, sigma) for rows in members]
        conditional = torch.stack([parts[label][row] for row, label in enumerate(labels.tolist())])
        unconditional = _part(mixture, torch.arange(4))(x, sigma)
        wanted = scale * conditional + (1 - scale) * unconditional
        torch.testing.assert_close(ClassifierFree(mixture, scale)(x, sigma, labels), wanted, rtol=1e-10, atol=1e-10)

    def test_one_row_of_labels_and_soft_ones(self) -> None:
        mixture, x = classes(), numbers(3, 2, 1)
        rows = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
        wanted = 3 * mixture(x, 0.7, rows) - 2 * mixture(x, 0.7)
        exactly(ClassifierFree(mixture, 3.0)(x, 0.7, rows), wanted)

    def test_autoguidance_asks_both_for_the_same(self) -> None:
        better, worse = classes(), classes()
        worse.means *= 0.8
        x, levels, labels = numbers(3, 2, 1), torch.tensor([0.3, 1.0, 5.0], dtype=torch.float64), torch.arange(3)
        wanted = 2.5 * better(x, levels, labels) - 1.5 * worse(x, levels, labels)
        exactly(Autoguided(better, worse, 2.5)(x, levels, labels), wanted)

    def test_an_unconditional_guide_is_classifier_free_guidance(self) -> None:
        mixture, x, labels = classes(), numbers(3, 2, 1), torch.tensor([2, 0, 1])
        alone = GaussianMixture(mixture.means[:, :, None], mixture.covariances, mixture.weights)
        one, other = Autoguided(mixture, alone, 2.0), ClassifierFree(mixture, 2.0)
        exactly(one(x, 1.3, labels), other(x, 1.3, labels))

    def test_nested_either_way_as_the_formulas_say(self) -> None:
        better, worse, x, labels = classes(), classes(), numbers(3, 2, 1), torch.arange(3)
        worse.means *= 0.5
        d, u, g, v = better(x, 1.0, labels), better(x, 1.0), worse(x, 1.0, labels), worse(x, 1.0)
        inside = Autoguided(ClassifierFree(better, 2.0), worse, 3.0)
        exactly(inside(x, 1.0, labels), g + 3 * (u + 2 * (d - u) - g))
        outside = ClassifierFree(Autoguided(better, worse, 3.0), 2.0)
        first, second = g + 3 * (d - g), v + 3 * (u - v)
        exactly(outside(x, 1.0, labels), second + 2 * (first - second))
        assert (inside(x, 1.0, labels) - outside(x, 1.0, labels)).abs().max() > 0.01
        sigma = torch.tensor(1.0)
        assert int(inside.evaluations(sigma)) == 3
        assert int(outside.evaluations(sigma)) == 4

    def test_intervals_of_nested_guidance_are_each_their_own(self) -> None:
        better, worse, x, labels = classes(), classes(), numbers(1, 2, 1), torch.tensor([1])
        worse.means *= 0.5
        nested = Autoguided(ClassifierFree(better, 2.0, (0.5, 2.0)), worse, 3.0, (1.0, 4.0))
        for level, evaluations in ((0.2, 1), (0.7, 2), (1.5, 3), (3.0, 2), (5.0, 1)):
            d, u, g = better(x, level, labels), better(x, level), worse(x, level, labels)
            free = 2 * d - u if 0.5 < level <= 2 else d
            exactly(nested(x, level, labels), 3 * free - 2 * g if 1 < level <= 4 else free)
            assert int(nested.evaluations(torch.tensor(level))) == evaluations


def _part(mixture: GaussianMixture, rows: Tensor) -> GaussianMixture:
    return GaussianMixture(mixture.means[rows, :, None], mixture.covariances[rows], mixture.weights[rows])


class TestInterval:
    LEVELS = torch.tensor([0.25, 0.5, 0.5000001, 1.0, 2.0, 2.0000001, 9.0], dtype=torch.float64)
    INSIDE = (2, 3, 4)  # the lower border is outside, the upper one inside

    @pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
    @pytest.mark.parametrize("kind", ["classifier-free", "autoguided"])
    def test_guided_inside_and_conditional_outside(self, kind: str, scale: float) -> None:
        watched, worse = Watched(classes()), Watched(classes())
        worse.denoiser.means *= 0.5
        limited, everywhere = _pair(kind, watched, worse, scale, (0.5, 2.0))
        x, labels = numbers(7, 2, 1), torch.arange(7) % 3
        plain, strong = watched(x, self.LEVELS, labels), everywhere(x, self.LEVELS, labels)
        inside = torch.zeros(7, dtype=torch.bool)
        inside[list(self.INSIDE)] = True
        mixed = limited(x, self.LEVELS, labels)
        assert torch.equal(mixed[~inside], plain[~inside])
        exactly(mixed[inside], strong[inside])
        assert (strong - plain).abs().amin(0).min() > 1e-4  # so that each could be told from the other
        for row, level in enumerate(self.LEVELS):
            watched.calls, worse.calls = [], []
            alone = limited(x[row : row + 1], level, labels[row : row + 1])
            wanted = strong if inside[row] else plain
            exactly(alone[0], wanted[row])
            evaluated = sum(size for size, _, _ in watched.calls + worse.calls)
            assert evaluated == int(limited.evaluations(level)) == (2 if inside[row] and scale else 1)
            if not inside[row]:
                assert not worse.calls
        assert limited.evaluations(self.LEVELS).tolist() == [2 if row and scale else 1 for row in inside.tolist()]

    def test_both_branches_go_through_the_network_together(self) -> None:
        watched = Watched(classes())
        ClassifierFree(watched, 2.0)(numbers(3, 2, 1), torch.tensor([1.0, 2.0, 3.0]), torch.arange(3))
        ((size, levels, rows),) = watched.calls
        assert size == 6
        assert levels == [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]
        assert rows is not None
        assert torch.equal(rows, torch.cat([torch.eye(3, dtype=torch.float64), torch.zeros(3, 3)]))

    def test_a_weight_of_one_evaluates_one_branch_and_changes_no_bit(self) -> None:
        network, guide = model(), model(base_channels=4)
        x, labels = numbers(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
        for scaled in (ClassifierFree(network, 1.0), Autoguided(network, guide, 1.0)):
            assert torch.equal(scaled(x, 0.8, labels), network(x, 0.8, labels))
            assert int(scaled.evaluations(torch.tensor(0.8))) == 1

    def test_a_weight_of_zero_is_the_guide_alone(self) -> None:
        network, guide = model(), model(base_channels=4)
        x, labels = numbers(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
        assert torch.equal(ClassifierFree(network, 0.0)(x, 0.8, labels), network(x, 0.8, torch.zeros(5, 3)))
        assert torch.equal(Autoguided(network, guide, 0.0)(x, 0.8, labels), guide(x, 0.8, labels))
        assert int(Autoguided(network, guide, 0.0).evaluations(torch.tensor(0.8))) == 1


def _pair(kind: str, better: nn.Module, worse: nn.Module, scale: float, interval: tuple[float, float]) -> list[Any]:
    """Guidance inside the interval, and the same everywhere."""
    if kind == "autoguided":
        return [Autoguided(better, worse, scale, part) for part in (interval, (0.0, math.inf))]
    return [ClassifierFree(better, scale, part) for part in (interval, (0.0, math.inf))]


def test_states_what_the_model_states() -> None:
    class Rounding(nn.Module):
        sigma_min, sigma_max, sample_shape, label_dim, label_kind = 0.01, 50.0, (1, 2), 2, "vectors"
        label_examples = torch.tensor([[1.0, 2.0]])

        def round_sigma(self, sigma: Tensor) -> Tensor:
            return sigma.round()

    wide = ClassifierFree(Rounding(), 2.0)
    assert (wide.sigma_min, wide.sigma_max, wide.sample_shape, wide.label_dim) == (0.01, 50.0, (1, 2), 2)
    assert wide.label_kind == "vectors"
    assert wide.label_examples is Rounding.label_examples
    assert wide.round_sigma(torch.tensor(1.7)) == 2.0
    narrow = Rounding()
    narrow.sigma_min, narrow.sigma_max = 0.1, 20.0
    both = Autoguided(Rounding(), narrow, 2.0)
    assert (both.sigma_min, both.sigma_max) == (0.1, 20.0)
    assert Autoguided(model(), model(base_channels=4, label_dropout=0.0), 2.0).label_dropout == 0
    assert as_denoiser(Rounding()).evaluations(torch.tensor([1.0, 2.0])).tolist() == [1, 1]


def test_a_guide_of_another_number_type() -> None:
    better, worse = model(), model(base_channels=4)
    x, labels = numbers(2, 1, 4, 4), torch.tensor([0, 1])
    wanted = 2 * better(x, 1.0, labels) - worse(x, 1.0, labels)
    worse.network.float()
    result = Autoguided(better, worse, 2.0)(x, 1.0, labels)
    assert result.dtype == torch.float64
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-4)
    assert Autoguided(worse, better, 2.0)(x, 1.0, labels).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: ClassifierFree(gaussian([0.0], 1.0), 2.0),
            "needs a model with labels, but this one is unconditional",
        ),
        (lambda: ClassifierFree(model(label_dropout=0.0), 2.0), "trained without label dropout"),
        (
            lambda: ClassifierFree(Autoguided(model(), model(base_channels=4, label_dropout=0.0), 2.0), 2.0),
            "trained without label dropout",
        ),
        (lambda: ClassifierFree(classes(), -0.5), "guidance is -0.5, but must be a finite number >= 0"),
        (lambda: ClassifierFree(classes(), math.nan), "guidance is nan, but must be"),
        (lambda: ClassifierFree(classes(), math.inf), "guidance is inf, but must be"),
        (lambda: ClassifierFree(classes(), 2.0, (3.0, 1.0)), "upside down or empty: it begins at 3 and ends at 1"),
        (lambda: ClassifierFree(classes(), 2.0, (1.0, 1.0)), "upside down or empty"),
        (lambda: ClassifierFree(classes(), 2.0, (0.0, math.nan)), "upside down or empty"),
        (lambda: ClassifierFree(classes(), 2.0, (-1.0, 1.0)), "begins at -1, but noise levels are not negative"),
        (lambda: Autoguided(same := classes(), same, 2.0), "the guide is the model itself"),
        (
            lambda: Autoguided(classes(), gaussian([0.0], 1.0), 2.0),
            r"samples of shape \(1, 1\), the model of \(2, 1\)",
        ),
        (lambda: Autoguided(model(), model(label_dim=4), 2.0), "takes labels of 4 classes, the model labels of 3"),
        (lambda: Autoguided(model(label_dim=0), model(), 2.0), "takes labels of 3 classes, the model no labels"),
        (
            lambda: Autoguided(_vectors(model()), model(), 2.0),
            "labels of 3 classes, the model label vectors of 3 num",
        ),
        (lambda: ClassifierFree(classes(), 2.0)(numbers(1, 2, 1), 9.0), "needs labels to guide to"),
        (lambda: ClassifierFree(classes(), 2.0, (0, 1))(numbers(1, 2, 1), 9.0), "needs labels to guide to"),
        (lambda: Guidance(1.0).guided(classes(), classes()), "the guide would do nothing with guidance 1"),
    ],
)
def test_what_is_refused_in_one_line(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        make()
    assert "\n" not in str(error.value)


def _vectors(denoiser: Denoiser) -> Denoiser:
    denoiser.facts["data"] = {"label_kind": "vectors"}
    return denoiser


def test_plain_values_choose_the_kind() -> None:
    mixture, worse = classes(), classes()
    assert Guidance(1.0).guided(mixture) is mixture
    assert isinstance(Guidance(2.0).guided(mixture), ClassifierFree)
    assert isinstance(Guidance(2.0, 0.1, 1.0).guided(mixture, worse), Autoguided)
    assert Guidance(2.0, 0.1, 1.0).guided(mixture, worse).interval == (0.1, 1.0)


def test_a_sample_does_not_depend_on_its_place_nor_on_who_is_inside_the_interval() -> None:
    """Odd sizes, so that values fall into the rests of the processor's vectors."""
    torch.manual_seed(0)
    x = torch.randn(16, 3, 5)
    d, g = (nn.Parameter(torch.randn(3, 5)) for _ in range(2))

    def better(x: Tensor, sigma: Tensor) -> Tensor:
        return x * d

    def worse(x: Tensor, sigma: Tensor) -> Tensor:
        return x * g

    both = Autoguided(better, worse, 2.3, (0.5, 2.0))
    levels = torch.linspace(0.1, 3, 16)
    whole = both(x, levels)
    for shift in range(1, 16):
        assert torch.equal(both(x.roll(shift, 0), levels.roll(shift)).roll(-shift, 0), whole)
