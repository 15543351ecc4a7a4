"""A network that is read as what it is not is found out, and the right reading named."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.data import to_unit
from tests.interop.closed_form import KINDS, SHAPE, Blurred, foreign

PREDICTIONS = ("x0", "epsilon", "v", "flow", "score")


@pytest.fixture(scope="module")
def exact() -> Blurred:
    return Blurred(count=200)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Digits that the denoiser has not seen, blurred likewise."""
    digits = 0.6 * to_unit(ed.data.open("digits").images(torch.arange(200, 232)))
    return digits + 0.1 * torch.randn(digits.shape, generator=torch.Generator().manual_seed(5))


def read_as(model: ed.adapters.AdaptedDenoiser, predicts: str, **other: object) -> ed.adapters.AdaptedDenoiser:
    settings = {"network": model.network, "time": model.time} | other
    return ed.adapters.AdaptedDenoiser(predicts=predicts, dtype=torch.float64, sample_shape=SHAPE, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_right_reading_fits_and_a_wrong_prediction_is_named(kind: str, exact: Blurred, images: Tensor) -> None:
    right = foreign(kind, exact)
    found = ed.interop.check(right, images)
    assert found.fits
    # The exact denoiser of white data that are known to a mean of their own is at 1, so this knows more.
    assert found.given.score < 0.9
    assert found.given.score < 0.95 * found.others[0].score
    for predicts in PREDICTIONS:
        if predicts != right.predicts:
            wrong = ed.interop.check(read_as(right, predicts), images)
            assert not wrong.fits, predicts
            assert wrong.better is not None, predicts
            assert wrong.better.name == f"predicts {right.predicts}, images in [-1, 1]"
            assert wrong.better.score == pytest.approx(found.given.score, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["epsilon table", "v table", "flow"])
def test_without_data_samples_of_each_reading_tell(kind: str, exact: Blurred) -> None:
    right = foreign(kind, exact)
    assert ed.interop.check(right, count=8).fits
    for predicts in PREDICTIONS:
        if predicts != right.predicts:
            wrong = ed.interop.check(read_as(right, predicts), count=8)
            assert wrong.better is not None, predicts
            assert wrong.better.name == f"predicts {right.predicts}, images in [-1, 1]"


@pytest.mark.parametrize("kind", ["epsilon table", "flow"])
def test_time_the_other_way_and_the_other_sign(kind: str, exact: Blurred, images: Tensor) -> None:
    right = foreign(kind, exact)
    last = 999 if kind == "epsilon table" else 1

    class Turned(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return right.network(x, last - t)

    class Minus(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return -right.network(x, t)

    for network, name in (
        (Turned(), f"predicts {right.predicts}, time the other way, images in [-1, 1]"),
        (Minus(), f"predicts minus {right.predicts}, images in [-1, 1]"),
    ):
        found = ed.interop.check(read_as(right, right.predicts, network=network), images)
        assert found.better is not None
        assert found.better.name == name


@pytest.mark.parametrize(
    ("name", "factor", "offset"),
    [("[0, 1]", 2.0, -1.0), ("[-0.5, 0.5]", 2.0, 0.0), ("[0, 255]", 1 / 127.5, -1.0)],
)
def test_units(name: str, factor: float, offset: float, exact: Blurred, images: Tensor) -> None:
    """A network of images y with x = factor y + offset is told of as such, and fits when it is wrapped so."""

    class OfUnits(Blurred):
        def __init__(self) -> None:
            super().__init__(count=200)
            self.mean = (self.mean - offset) / factor

        def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
            level = torch.as_tensor(sigma, dtype=torch.float64) * factor
            return (exact(factor * x + offset, level) - offset) / factor

    model = foreign("epsilon table", OfUnits())
    found = ed.interop.check(model, images)
    assert found.better is not None
    assert found.better.name == f"predicts epsilon, images in {name}"
    assert ed.interop.check(ed.adapters.InUnits(model, factor, offset), images).fits


def test_latents_that_are_not_scaled(exact: Blurred, images: Tensor) -> None:
    scale = 0.18215

    class Scaled(Blurred):
        def __init__(self) -> None:
            super().__init__(count=200)

        def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
            return scale * exact(x / scale, torch.as_tensor(sigma, dtype=torch.float64) / scale)

    found = ed.interop.check(foreign("epsilon table", Scaled()), images)
    assert found.better is not None
    assert found.better.name == "predicts epsilon, latents times 0.18215"


def test_errors_are_those_of_the_formula() -> None:
    """Of D = x, sigma is left: sqrt(sigma^2 + std^2) / std of what the linear filter leaves."""
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    found = ed.interop.check(lambda x, sigma: x, images, count=64)
    std = float(images.double().std())
    for sigma, error in zip(found.sigmas, found.given.errors, strict=True):
        assert error == pytest.approx(math.hypot(sigma, std) / std, rel=0.03)
    assert not found.fits
    assert not found.others


def test_a_model_that_needs_conditions_says_so() -> None:
    class NeedsText(torch.nn.Module):
        sample_shape = SHAPE

        def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
            if labels is None:
                raise ValueError("give labels")
            return x

    with pytest.raises(ValueError, match="give labels"):
        ed.interop.check(NeedsText(), count=2)


CODE = """
import torch
from tests.interop.closed_form import SHAPE, Blurred, foreign
import elucidiff as ed

RIGHT = foreign("flow", Blurred(count=100))

def right():
    return RIGHT

def wrong():
    return ed.adapters.AdaptedDenoiser(RIGHT.network, "epsilon", RIGHT.time, dtype=torch.float64, sample_shape=SHAPE)
"""


def test_the_verbs(tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "readings_of_mine.py").write_text(CODE)
    assert main(["doctor", "readings_of_mine:right", "--images", "4", "--device", "cpu"]) == 0
    assert "it denoises its own samples: predicts flow" in capsys.readouterr().out
    assert main(["doctor", "readings_of_mine:wrong", "digits", "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not denoise 16 images as it is read: predicts epsilon" in line
    assert main(["convert", "readings_of_mine:wrong", "out"]) == 0
    said = capsys.readouterr()
    assert said.out == "out\n"
    assert "Read otherwise it does: predicts flow" in said.err
    assert main(["convert", "readings_of_mine:wrong", "quiet", "--no-check"]) == 0
    assert not capsys.readouterr().err


def test_a_network_that_fails_at_other_times_is_checked_all_the_same(exact: Blurred, images: Tensor) -> None:
    right = foreign("flow", exact)

    def network(x: Tensor, t: Tensor) -> Tensor:
        if bool((t > 0.93).any()):  # time the other way
            raise RuntimeError("there is no such time")
        return right.network(x, t)

    model = read_as(right, "flow", network=network)
    found = ed.interop.check(model, images)
    assert found.fits
    reversed_ = [
        other for other in found.others if other.name == "predicts flow, time the other way, images in [-1, 1]"
    ]
    assert reversed_
    assert all(math.isinf(each.score) for each in reversed_)
