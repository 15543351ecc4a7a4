"""The whole pipeline against the reference's numbers, from its draws to images and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from elucidiff.augment import Augment
from elucidiff.augment.base import COLOUR, SUBPIXEL, gated_values
from elucidiff.augment.colour import colour_matrices
from elucidiff.augment.geometry import inverse_matrices, margins
from tests.augment.recorded import Recorded
from tests.golden_files import cases, load

FILES = [name for name in cases("g_augment") if not name.endswith("inputs")]
CASES = [(file, name) for file in FILES for name in load(file)[0]["cases"]]


@dataclass
class Case:
    settings: dict[str, Any]
    augment: Augment
    inputs: Tensor
    golden: dict[str, Tensor]

    def params(self) -> dict[str, Tensor]:
        source = recorded(self.golden)
        params = gated_values(self.augment, source)
        assert source.exhausted()
        return params


def recorded(golden: dict[str, Tensor]) -> Recorded:
    draws = sorted(key for key in golden if key.startswith("draw/"))
    return Recorded((key.partition("_")[2], golden[key]) for key in draws)


@pytest.fixture(params=CASES, ids=lambda pair: f"{pair[0].partition('/')[2]}-{pair[1]}")
def case(request: pytest.FixtureRequest) -> Case:
    file, name = request.param
    meta, tensors = load(file)
    settings = meta["cases"][name]
    golden = {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}
    inputs = load("g_augment/inputs")[1][settings["input"]]
    return Case(settings, Augment(**settings["kwargs"]), inputs, golden)


def test_images_and_labels(case: Case) -> None:
    images, labels = case.augment.apply(case.inputs, case.params())
    active = set(case.augment.active)
    tolerance = 1e-5 if active & set(SUBPIXEL) else 1e-6 if active & set(COLOUR) else 0.0
    torch.testing.assert_close(images, case.golden["images"], rtol=0, atol=tolerance)
    torch.testing.assert_close(labels, case.golden["labels"], rtol=0, atol=1e-6)
    assert case.augment.label_dim == case.settings["num_labels"] == labels.shape[1]


def test_float64_agrees_as_well_as_the_reference_does_with_itself(case: Case) -> None:
    images, labels = case.augment.apply(case.inputs.double(), case.params())
    assert images.dtype == labels.dtype == torch.float64
    distance = (images - case.golden["images"]).abs().max().item()
    assert distance <= 1.5 * case.settings["max_abs_diff_f32_f64"] + 5e-7


def test_draws_from_the_same_seed_are_the_same(case: Case) -> None:
    generator = torch.Generator().manual_seed(case.settings["torch_manual_seed"])
    drawn = case.augment.draw(len(case.inputs), generator)
    expected = case.params()
    assert drawn.keys() == expected.keys()
    for name, w in expected.items():
        assert torch.equal(drawn[name], w), name


def test_matrices(case: Case) -> None:
    n, channels, height, width = case.inputs.shape
    params = {name: w.double() for name, w in case.params().items()}
    if "G_inv" in case.golden:
        inverse = inverse_matrices(case.augment, params, n, width, height)
        torch.testing.assert_close(inverse.float(), case.golden["G_inv"], rtol=1e-6, atol=1e-6)
        # Ours keeps all that a result reads; the reference's is at times a pixel or two short of the filter's tails.
        ours, theirs = torch.tensor(margins(inverse, width, height)), case.golden["padding"]
        assert (ours >= theirs).all()
        assert (ours <= theirs + 3).all()
    if "color_matrix" in case.golden:
        matrix = colour_matrices(case.augment, params, n)[:, :3]
        if channels == 1:
            matrix = matrix.mean(1, keepdim=True)
        expected = case.golden["color_matrix"][:, :3]
        torch.testing.assert_close(matrix.float(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["EDMLoss_06", "VPLoss_07"])
def test_inside_a_training_loss(name: str) -> None:
    settings, golden = load(f"c_losses/{name}")
    draws = sorted(key for key in golden if key.startswith("draw/"))
    # The noise level is drawn before the augmentation, and the noise after it.
    augment = Augment(**settings["augment"])
    params = gated_values(augment, Recorded((key.partition("_")[2], golden[key]) for key in draws[1:-1]))
    images, labels = augment.apply(golden["images"], params)
    torch.testing.assert_close(images, golden["y"], rtol=0, atol=1e-5)
    torch.testing.assert_close(labels, golden["augment_labels"], rtol=0, atol=1e-6)
