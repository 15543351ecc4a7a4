"""Missing values: told from the others, and left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elucidiff as ed
from elucidiff import parts
from elucidiff.cli.main import main
from elucidiff.data import AsStored, Gaps, Standard, scaling_of
from elucidiff.data.gaps import filled, measured_scaling
from elucidiff.sampling.given import read_given
from elucidiff.training import TrainingConfig
from elucidiff.training.batches import TrainingData, draw
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.metrics import LossMeter
from elucidiff.training.state import TrainingState

SMALL = "ddpmpp:base_channels=8,channel_multipliers=1,blocks_per_level=1,attention_resolutions=,dropout=0"


def sea(count: int = 24) -> np.ndarray:
    """Temperatures of a sea of 8 x 8 points: the left edge is land, and one value in ten is hidden by clouds."""
    random = np.random.default_rng(0)
    fields = (15 + 3 * random.standard_normal((count, 1, 8, 8))).astype(np.float32)
    fields[random.random(fields.shape) < 0.1] = np.nan
    fields[..., 0] = np.nan
    return fields


def config(path: Path, **changes: object) -> TrainingConfig:
    settings = {"data": str(path), "normalise": "standard", "network": SMALL, "batch_size": 8, "duration_images": 16}
    few = {"checkpoint_images": 16, "memorisation_samples": 4, "validation_images": 4, "sigma_data": 1.0}
    return TrainingConfig(**(settings | few | {"device": "cpu"} | changes))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*lacks")
def test_the_loss_is_that_of_the_values_that_are_there(tmp_path: Path) -> None:
    """By hand: the gradient of the sum over present values, and a mean over them in the log."""
    np.save(tmp_path / "sea.npy", sea())
    settings = config(tmp_path / "sea.npy", lr=1e-3, lr_ramp_images=0.0, validation_images=0)
    data = TrainingData.open(settings)
    assert data.gaps
    assert data.facts["missing"] == pytest.approx(np.isnan(sea()).mean())
    state = TrainingState(settings, data.shape, 0, torch.device("cpu"))
    images = data.scaling.to_model(torch.from_numpy(sea()[:8]))
    draws = draw(0, 0, (8, 1, 8, 8), state.objective.noise)
    [batch] = noisy_batches(state, images, None, draws, gaps=True)
    assert batch.present is not None
    assert torch.equal(batch.present, ~torch.from_numpy(np.isnan(sea()[:8])))

    y, sigma = torch.nan_to_num(images, nan=0.0), batch.sigma.reshape(-1, 1, 1, 1)
    output = state.denoiser(y + sigma * draws.noise, batch.sigma)
    output.retain_grad()
    squares = (sigma**2 + 1) / sigma**2 * (output - y) ** 2
    by_hand = squares[batch.present].sum() / 8
    by_hand.backward()
    assert output.grad is not None
    assert float(output.grad[~batch.present].abs().max()) == 0.0
    wanted = [parameter.grad.clone() for parameter in state.denoiser.parameters() if parameter.grad is not None]
    update(state, [batch])
    found = [parameter.grad for parameter in state.denoiser.parameters() if parameter.grad is not None]
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)
    means = torch.stack([loss[there].mean() for loss, there in zip(squares, batch.present, strict=True)])
    assert state.meter.summary().mean == pytest.approx(float(means.mean()), rel=1e-5)


def test_a_mean_over_present_values() -> None:
    meter = LossMeter("cpu")
    loss = torch.tensor([[[1.0, 5.0, 100.0]], [[2.0, 2.0, 2.0]]])
    meter.add(loss, torch.ones(2), torch.tensor([[[True, True, False]], [[True, False, False]]]))
    assert meter.summary().mean == pytest.approx((3 + 2) / 2)


@pytest.mark.filterwarnings("ignore:.*lacks", "ignore:sigma goes")
def test_a_model_of_a_sea_keeps_its_land(tmp_path: Path) -> None:
    np.save(tmp_path / "sea.npy", sea())
    result = ed.training.train(config(tmp_path / "sea.npy"), tmp_path / "run")
    model = ed.load(result.run_dir / "model")
    scaling = scaling_of(model)
    assert isinstance(scaling, Gaps)
    assert isinstance(scaling.scaling, Standard)
    assert scaling.scaling.means == pytest.approx((np.nanmean(sea().astype(float)),))
    assert scaling.scaling.stds == pytest.approx((np.nanstd(sea().astype(float)),))
    x = torch.randn(2, 1, 8, 8)
    assert float(model(x, 1.0)[..., 0].abs().max()) == 0.0
    assert float(model(x, 1.0)[..., 1:].abs().min()) > 0.0
    samples = scaling.to_data(ed.sample(model, 3, [2.0, 0.5, 0.0]))
    np.testing.assert_array_equal(np.isnan(samples), np.broadcast_to(np.arange(8) == 0, (3, 1, 8, 8)))
    assert parts.from_plain("scaling", parts.to_plain(scaling)) == scaling


def test_clouds_alone_leave_no_gaps_in_samples() -> None:
    fields = sea()[..., 1:]
    dataset = ed.data.Dataset.from_arrays(torch.from_numpy(fields).nan_to_num(15.0))
    assert measured_scaling(dataset, AsStored()) == AsStored()


def test_filled() -> None:
    images, present = filled(torch.tensor([[[1.0, float("nan"), -2.0]]]))
    assert images.tolist() == [[[1.0, 0.0, -2.0]]]
    assert present.tolist() == [[[True, False, True]]]


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ((2,), np.nan, r"image 2 of .*x.npy has no values, all are NaN: leave it out"),
        ((3, 0, 1), np.inf, r"x.npy holds inf at \[3, 0, 1\]: values must be finite, or NaN where they are missing"),
    ],
)
def test_what_cannot_be_left_out_is_refused(tmp_path: Path, place: tuple[int, ...], value: float, says: str) -> None:
    array = np.random.default_rng(0).standard_normal((5, 1, 16))
    array[place] = value
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=says) as error:
        ed.data.open(tmp_path / "x.npy")
    assert "\n" not in str(error.value)


def test_what_lacks_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", sea())
    count = int(np.isnan(sea()).sum())
    with pytest.warns(UserWarning, match=rf"x.npy lacks {count} of its 1,536 values \(NaN\): they are left out"):
        ed.data.open(tmp_path / "x.npy")
    report = ed.data.inspect(tmp_path / "x.npy")
    assert report.missing == pytest.approx(np.isnan(sea()).mean())
    assert report.channel_means == pytest.approx((np.nanmean(sea().astype(float)),))
    assert report.channel_sigmas == pytest.approx((np.nanstd(sea().astype(float)),))
    assert report.recommended("sigma_data") == pytest.approx(1.0)


def test_gaps_that_do_not_fit_are_refused() -> None:
    gaps = Gaps(AsStored(), "AAAA")
    with pytest.raises(ValueError, match=r"not those of samples of shape \(1, 8, 8\)"):
        gaps.to_data(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="damaged"):
        replace(gaps, absent="!").to_data(torch.zeros(1, 1, 8, 8))


def test_what_a_model_of_a_sea_made_can_be_given_to_it_again(tmp_path: Path) -> None:
    """A sample has NaN over land, where the model sees 0; other missing values are refused."""
    scaling = Gaps.around(Standard((15.0,), (3.0,)), ed.data.Dataset.from_arrays(sea()))
    denoiser = ed.Denoiser(
        TrainingConfig(network=SMALL).network.build((1, 8, 8), label_dim=0), ed.preconditioning.EDM()
    )
    denoiser.facts["data"] = {"dtype": "float32", "scaling": parts.to_plain(scaling)}
    x = torch.randn(1, 1, 8, 8)
    sample = scaling.to_data(x)[0].numpy()
    np.save(tmp_path / "sample.npy", sample)
    given = read_given(tmp_path / "sample.npy", denoiser)
    assert float(given[..., 0].abs().max()) == 0.0
    torch.testing.assert_close(given[..., 1:], x[0, ..., 1:].double(), rtol=1e-5, atol=1e-5)
    sample[0, 3, 3] = np.nan
    np.save(tmp_path / "sample.npy", sample)
    with pytest.raises(ValueError, match="not finite"):
        read_given(tmp_path / "sample.npy", denoiser)


def filled_sea(dtype: str, fill: float) -> tuple[np.ndarray, np.ndarray]:
    """Whole degrees of a sea in a type, with a fill value, and the same fields with NaN."""
    fields = np.rint(sea())
    return np.nan_to_num(fields, nan=fill).astype(dtype), fields


@pytest.mark.parametrize(
    ("dtype", "fill", "read_as"),
    [
        ("float32", 1e20, "float32"),  # which float32 rounds to 100000002004087734272
        (">f4", -9999.0, "float32"),
        ("int16", -9999, "float32"),
        ("int32", -9999, "float64"),
        ("uint8", 255, "float32"),
    ],
)
def test_a_fill_value_is_read_as_nan(tmp_path: Path, dtype: str, fill: float, read_as: str) -> None:
    stored, fields = filled_sea(dtype, fill)
    np.save(tmp_path / "sea.npy", stored)
    with pytest.warns(UserWarning, match="lacks 335 of its 1,536 values"):
        dataset = ed.data.open(tmp_path / "sea.npy", reading=ed.data.Reading(missing=fill))
    assert str(dataset.dtype) == f"torch.{read_as}"
    np.testing.assert_array_equal(dataset.images(range(24)).numpy(), fields.astype(read_as))


def test_an_import_with_a_fill_value_is_the_one_with_nan(tmp_path: Path) -> None:
    """So its statistics are those of the values that are there."""
    stored, fields = filled_sea("float32", -9999)
    np.savez(tmp_path / "sea.npz", images=stored)
    np.save(tmp_path / "nan.npy", fields)
    arguments = ["import", str(tmp_path / "sea.npz"), str(tmp_path / "sea"), "--missing", "-9999"]
    assert main(["data", *arguments]) == 0
    made = ed.data.import_dataset(tmp_path / "nan.npy", tmp_path / "nan")
    assert json.loads((tmp_path / "sea" / "meta.json").read_text())["sha256"] == made.sha256
    with_fill = ed.data.open(tmp_path / "sea")
    scaling = measured_scaling(with_fill, Standard())
    assert isinstance(scaling, Gaps)
    assert isinstance(scaling.scaling, Standard)
    there = fields[np.isfinite(fields)]
    assert scaling.scaling.means == pytest.approx((float(there.mean()),), rel=1e-5)
    assert scaling.scaling.stds == pytest.approx((float(there.std()),), rel=1e-3)


@pytest.mark.parametrize(
    ("dtype", "missing", "message"),
    [
        ("float32", -999.0, r"no value of .*sea.npy is -999, .* \(they are .* to .*\): correct it"),
        ("int16", 1e20, "holds int16, which cannot be 1e\\+20"),
        ("int16", 0.5, "holds int16, which cannot be 0.5"),
    ],
)
def test_a_fill_value_that_no_value_has_is_refused(tmp_path: Path, dtype: str, missing: float, message: str) -> None:
    np.save(tmp_path / "sea.npy", filled_sea(dtype, -9999)[0])
    with pytest.raises(ValueError, match=message):
        ed.data.open(tmp_path / "sea.npy", reading=ed.data.Reading(missing=missing))


def test_a_fill_value_must_be_a_number_and_not_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="missing is nan, but must be a finite number"):
        ed.data.Reading(missing=float("nan"))
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "pictures" / "0.png")
    with pytest.raises(ValueError, match="missing means nothing here; leave it out"):
        ed.data.open(tmp_path / "pictures", reading=ed.data.Reading(missing=0.0))


def test_an_image_of_the_fill_value_alone_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored, _ = filled_sea("float32", -9999)
    stored[7] = -9999
    np.save(tmp_path / "sea.npy", stored)
    assert main(["data", "import", str(tmp_path / "sea.npy"), str(tmp_path / "sea"), "--missing", "-9999"]) == 2
    printed = capsys.readouterr().err.strip()
    assert "image 7 of" in printed
    assert "has no values" in printed
    assert len(printed.splitlines()) == 1
