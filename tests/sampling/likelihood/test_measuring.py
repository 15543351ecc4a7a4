"""bits/dim over a data set: against the truth, the same however the images are grouped, and on disk."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elucidiff.data.dataset import Dataset
from elucidiff.data.sources import ArraySource
from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.design.schedules import FittedVP
from elucidiff.design.steps import Karras
from elucidiff.sampling.likelihood import ImageBits, Likelihood, measure, summary
from elucidiff.sampling.likelihood.measuring import read_record, repeat_error, write_record
from elucidiff.solvers import IPNDM, RK45, Heun

CHOICES = Likelihood(solver=RK45(1e-3, 1e-3), batch_size=4)


def target() -> GaussianMixture:
    return GaussianMixture(
        torch.tensor([[[-0.4, 0.1]], [[0.3, -0.2]]], dtype=torch.float64),
        torch.tensor([[[0.04, 0.02], [0.02, 0.04]], [[0.02, 0.0], [0.0, 0.05]]], dtype=torch.float64),
        torch.tensor([0.6, 0.4]),
    )


def images(count: int) -> Dataset:
    """Draws from the target, rounded to 8 bits."""
    x = target().sample(count, torch.Generator().manual_seed(0))
    return Dataset("mixture", ArraySource((x * 127.5 + 128).clip(0, 255).to(torch.uint8).numpy()))


def test_bits_of_8_bit_images() -> None:
    """P of the grey levels is the density at their place times their width, as the density is smooth."""
    dataset = images(60)
    measured = [each for part in measure(target(), dataset, range(60), CHOICES) for each in part]
    x = dataset.images().double() / 127.5 - 1
    truth = -(target().log_prob(x) / (2 * math.log(2)) - math.log2(127.5))
    mean, error, of_an_image = summary(measured)
    assert mean == pytest.approx(float(truth.mean()), rel=2e-3)
    assert error == pytest.approx(float(truth.std()) / math.sqrt(60), rel=0.05)
    assert of_an_image is None


def test_floating_point_data_have_densities() -> None:
    x = target().sample(5, torch.Generator().manual_seed(1))
    dataset = Dataset("densities", ArraySource(x.float().numpy()))
    measured = [each for part in measure(target(), dataset, range(5), CHOICES) for each in part]
    truth = -target().log_prob(x, 0.002) / (2 * math.log(2))
    np.testing.assert_allclose([each.mean for each in measured], truth, rtol=0, atol=0.02)


def test_an_image_depends_on_no_other_and_repeats_differ() -> None:
    dataset = images(9)
    choices = replace(CHOICES, repeats=2, divergence="hutchinson")
    together = [each for part in measure(target(), dataset, range(9), choices) for each in part]
    assert [each.image for each in together] == list(range(9))
    assert all(each.bits[0] != each.bits[1] for each in together)
    for chosen in ([8], [4, 0, 7]):
        again = [each for part in measure(target(), dataset, chosen, choices) for each in part]
        assert again == [together[image] for image in chosen]
    once = next(measure(target(), dataset, [3], replace(choices, repeats=1)))
    assert once[0].bits == together[3].bits[:1]
    twins = Dataset("twins", ArraySource(dataset.images([3, 3]).numpy()))
    first, second = next(measure(target(), twins, [0, 1], CHOICES))
    assert first.bits != second.bits
    other = next(measure(target(), dataset, [3], replace(choices, seed=1)))
    assert other[0].bits != together[3].bits


def test_the_curve_that_is_followed_does_not_matter() -> None:
    """The density is that of the ODE, whichever sigma(t) and s(t), and steps, lead along it."""
    dataset = images(3)
    (adaptive,) = measure(target(), dataset, range(3), replace(CHOICES, solver=RK45(1e-6, 1e-6)))
    for schedule in (CHOICES.schedule, FittedVP().fitted(0.002, 80.0)):
        fixed = replace(CHOICES, solver=Heun(), steps=Karras(128), schedule=schedule)
        (found,) = measure(target(), dataset, range(3), fixed)
        np.testing.assert_allclose([each.mean for each in found], [each.mean for each in adaptive], rtol=1e-3)
        assert {each.nfe for each in found} == {2 * 127}


def test_choices_as_json() -> None:
    plain = json.loads(json.dumps(CHOICES.to_plain()))
    assert plain["solver"] == {"type": "rk45", "rtol": 1e-3, "atol": 1e-3}
    assert (plain["steps"]["n"], plain["batch_size"], plain["divergence"]) == (64, 4, "auto")


def test_standard_errors() -> None:
    measured = [ImageBits(0, (1.0, 3.0), 10, 10), ImageBits(1, (5.0, 5.0), 10, 10)]
    mean, error, of_an_image = summary(measured)
    assert mean == 3.5
    assert error == pytest.approx(1.5)  # 2 and 5: a spread of 1.5 sqrt(2), over sqrt(2)
    assert [repeat_error(each) for each in measured] == [1.0, 0.0]
    assert of_an_image == pytest.approx(math.sqrt(0.5))
    assert summary([ImageBits(0, (2.0,), 1, 1)]) == (2.0, None, None)


def test_an_image_that_fails_is_named() -> None:
    dataset = images(5)
    broken_one = dataset.images([3]).double() / 127.5 - 1

    def broken(x: Tensor, sigma: Tensor) -> Tensor:
        near = ((x - broken_one).abs().amax((1, 2)) < 0.01)[:, None, None]
        return torch.where(near, math.nan, target()(x, sigma))

    with pytest.raises(ValueError, match="image 3 of mixture: RK45 found no step size"):
        list(measure(broken, dataset, range(5), CHOICES))
    heun = replace(CHOICES, solver=Heun(), steps=Karras(4))
    with pytest.raises(
        ValueError, match=r"image 3 of mixture: the log-likelihood of sample 0 .* gave values that are not finite"
    ):
        list(measure(broken, dataset, range(5), heun))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"repeats": 0}, "repeats is 0, but must be at least 1"),
        ({"probes": 0}, "probes is 0"),
        ({"solver": IPNDM(3)}, "IPNDM cannot follow the ODE both ways"),
        ({"divergence": "hutchison"}, "did you mean 'hutchinson'"),
        ({"probe": "gauss"}, "did you mean 'gaussian'"),
    ],
)
def test_bad_choices(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Likelihood(**values)


class TestRecord:
    MEASURED = (ImageBits(2, (1.25, 1.5), 20, 40), ImageBits(7, (2.0, 2.125), 22, 44))

    def test_comes_back_to_the_bit(self, tmp_path: Path) -> None:
        facts = {"model": "abc", "choices": {"atol": 1e-4, "solver": "rk45"}}
        path = tmp_path / "record.json"
        assert read_record(path, facts) == []
        write_record(path, facts, self.MEASURED, 5)
        assert read_record(path, facts) == list(self.MEASURED)
        summarised = json.loads(path.read_text())["summary"]
        assert summarised["bits_per_dim"] == 1.71875
        assert summarised["images"] == 2
        assert summarised["images_asked_for"] == 5
        assert summarised["nfe_mean"] == 10.5
        assert summarised["backward_passes_mean"] == 21

    def test_another_measurement_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "record.json"
        write_record(path, {"model": "abc", "data": "x"}, self.MEASURED, 5)
        with pytest.raises(ValueError, match=r"another measurement \(model differ\)"):
            read_record(path, {"model": "abd", "data": "x"})

    @pytest.mark.parametrize("content", ["", "[]", '{"measurement": {}}', '{"measurement": {}, "images": [{}]}', "5"])
    def test_what_is_no_record_is_refused(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "record.json"
        path.write_text(content)
        with pytest.raises(ValueError, match="is not a record of likelihoods"):
            read_record(path, {})
