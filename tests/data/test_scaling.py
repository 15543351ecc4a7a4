"""From stored values to what a denoiser sees, and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import elucidiff as ed
from elucidiff import parts
from elucidiff.data import (
    AsStored,
    Automatic,
    Dataset,
    Log,
    Pixels,
    Range,
    Scaling,
    Standard,
    Transparent,
    choose_scaling,
    scaling_of,
    to_unit,
)
from elucidiff.data.scaling import moments_of
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.evaluation.quality.principal import extractor_by_name


def test_ends_and_middle() -> None:
    assert to_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
    images = torch.tensor([51, 204], dtype=torch.uint8)
    assert to_unit(images).tolist() == pytest.approx([-0.6, 0.6], abs=1e-7)
    assert images.tolist() == [51, 204]


def test_floats_keep_their_values() -> None:
    values = torch.tensor([-3.5, 0.25, 7.0], dtype=torch.float64)
    assert to_unit(values).dtype == torch.float32
    assert to_unit(values).tolist() == values.tolist()


def test_integers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images are torch.int64, but must be uint8"):
        to_unit(torch.tensor([1, 2]))


@pytest.fixture(scope="module")
def fields() -> np.ndarray:
    """Temperature in kelvin, a wind in m/s, and rain, of which 40% is 0."""
    generator = np.random.default_rng(0)
    temperature = 280 + 10 * generator.standard_normal((50, 6, 5))
    wind = 3 * generator.standard_normal((50, 6, 5)) + 1
    rain = np.exp(2 * generator.standard_normal((50, 6, 5)) - 1) * (generator.random((50, 6, 5)) < 0.6)
    return np.stack([temperature, wind, rain], 1)


CHOICES: tuple[Scaling, ...] = (AsStored(), Standard(), Range(), Log(channels=(2,)))


@pytest.mark.filterwarnings("ignore:arrays has floating-point values")
@pytest.mark.parametrize("chosen", CHOICES, ids=parts.name_of)
def test_values_come_back_and_forms_are_inverses(fields: np.ndarray, chosen: Scaling) -> None:
    stored = torch.from_numpy(fields)
    scaling = chosen.measured(Dataset.from_arrays(fields))
    back = scaling.to_data(scaling.to_model(stored))
    assert back.dtype == torch.float32
    # float32 holds about seven digits, of the scaled value here.
    spread = np.abs(fields).max((0, 2, 3)).reshape(1, 3, 1, 1)
    assert float(((back - stored).abs() / torch.from_numpy(spread)).max()) < 1e-6
    assert parts.from_plain("scaling", parts.to_plain(scaling)) == scaling
    assert parts.parse("scaling", parts.to_text(scaling)) == scaling


@pytest.mark.filterwarnings("ignore:arrays has floating-point values")
def test_what_is_measured_is_what_numpy_measures(fields: np.ndarray) -> None:
    dataset = Dataset.from_arrays(fields)
    standard, limits, log = (each.measured(dataset) for each in (Standard(), Range(), Log(channels=(2,))))
    assert isinstance(standard, Standard)
    assert isinstance(limits, Range)
    assert isinstance(log, Log)
    np.testing.assert_allclose(standard.means, fields.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(standard.stds, fields.std((0, 2, 3)), rtol=1e-10)
    assert (limits.lows, limits.highs) == (tuple(fields.min((0, 2, 3))), tuple(fields.max((0, 2, 3))))
    rain = fields[:, 2]
    logs = np.log(rain[rain > 0])
    offset = math.exp(logs.mean() - 2 * logs.std())
    assert log.offsets == pytest.approx((0.0, 0.0, offset))
    assert log.means == pytest.approx((*fields[:, :2].mean((0, 2, 3)), np.log(rain + offset).mean()))
    for scaling in (standard, log):
        seen = moments_of(dataset, scaling.to_model)
        assert seen.means.tolist() == pytest.approx([0, 0, 0], abs=1e-6)
        assert seen.channel_stds.tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    seen = moments_of(dataset, limits.to_model)
    assert (seen.lowest, seen.highest) == (-1.0, 1.0)


@pytest.mark.filterwarnings("ignore:arrays has floating-point values")
@pytest.mark.parametrize("chosen", CHOICES, ids=parts.name_of)
def test_the_slope_is_that_of_finite_differences(fields: np.ndarray, chosen: Scaling) -> None:
    """ln |det| of a function of every value by itself is the sum of ln |dy/dx|."""
    scaling = chosen.measured(Dataset.from_arrays(fields))
    x = torch.from_numpy(fields[:4]).clamp_min(0.1)
    step = 1e-2 * x.abs()  # to_model returns float32
    rises = (scaling.to_model(x + step).double() - scaling.to_model(x - step).double()) / (2 * step)
    torch.testing.assert_close(scaling.log_slope(x), rises.log().flatten(1).sum(1), rtol=1e-3, atol=0.02)


def test_missing_values_are_left_out() -> None:
    array = np.random.default_rng(1).standard_normal((40, 2, 8)) * [[[3.0], [0.1]]] + 5
    array[np.random.default_rng(2).random(array.shape) < 0.3] = np.nan
    moments = moments_of(_Given(array))
    np.testing.assert_allclose(moments.means, np.nanmean(array, (0, 2)), rtol=1e-12)
    np.testing.assert_allclose(moments.channel_stds, np.nanstd(array, (0, 2)), rtol=1e-10)
    np.testing.assert_array_equal(moments.lows, np.nanmin(array, (0, 2)))
    seen = Standard((5.0,), (2.0,)).to_model(torch.from_numpy(array))
    np.testing.assert_array_equal(np.isnan(array), np.isnan(seen.numpy()))


class _Given(Dataset):
    """Values that are not looked at."""

    def __init__(self, array: np.ndarray) -> None:
        from elucidiff.data.sources import ArraySource

        super().__init__("x", ArraySource(array))


@pytest.mark.parametrize(
    ("array", "chosen", "says"),
    [
        (np.ones((3, 2, 4)), Standard(), "channel 0 of x is 1 everywhere, so there is no scale to measure"),
        (np.full((3, 1, 4), np.nan), Range(), "channel 0 of x has no values at all"),
        (np.linspace(-1, 1, 12).reshape(3, 1, 4), Log(), "channel 0 of x goes down to -1, and values below 0"),
        (np.linspace(1, 2, 12).reshape(3, 1, 4), Log(channels=(1,)), "log:channels has 1, but x has channels 0 to 0"),
        (
            np.zeros((3, 1, 4, 4), np.uint8),
            Standard(),
            "standard is for floating-point data .* leave --normalise out",
        ),
        (np.ones((3, 3, 4)), Standard((0.0, 0.0), (1.0, 1.0)), "made for 2 channels, but these data have 3"),
    ],
)
def test_what_has_no_scale_is_told_in_a_line(array: np.ndarray, chosen: Scaling, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        chosen.measured(_Given(array))
    assert "\n" not in str(error.value)


def test_samples_below_zero_on_a_log_scale_become_zero() -> None:
    scaling = Log(offsets=(0.5,), means=(0.0,), stds=(1.0,))
    assert scaling.to_data(torch.tensor([[[-5.0, math.log(0.5), 0.0]]])).tolist() == [[[0.0, 0.0, 0.5]]]


class Model(DenoiserModule):
    def __init__(self, shape: tuple[int, ...], **data: object) -> None:
        super().__init__()
        self._shape, self.facts["data"] = shape, data

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self._shape


def test_a_model_tells_its_scaling() -> None:
    measured = Standard((1.0,), (2.0,))
    assert scaling_of(Model((1, 8), scaling=parts.to_plain(measured))) == measured
    assert scaling_of(Model((3, 8, 8), dtype="float32")) == AsStored()
    assert scaling_of(Model((3, 8, 8))) == Pixels()
    assert scaling_of(Model((1, 8))) == AsStored()
    assert scaling_of(Model((1, 8), dtype="uint8")) == Pixels()
    with pytest.raises(ValueError, match="there is no scaling 'nonsense'"):
        scaling_of(Model((1, 8), scaling={"type": "nonsense"}))


def test_8_bit_levels_come_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    scaling = AsStored().measured(ed.data.Dataset.from_arrays(levels))
    assert scaling == Pixels()
    assert torch.equal(scaling.to_data(scaling.to_model(levels)), levels)
    assert float(scaling.log_slope(levels)) == pytest.approx(-256 * math.log(127.5))


@pytest.mark.filterwarnings("ignore:arrays has floating-point values")
def test_the_choice_suits_the_data(fields: np.ndarray) -> None:
    def chosen(array: np.ndarray) -> tuple[Scaling, str]:
        return choose_scaling(Dataset.from_arrays(array))

    rain, reason = chosen(fields)
    assert rain == Log(channels=(2,))
    assert reason.startswith("channel 2 is positive with a heavy tail")
    assert chosen(fields[:, 2:])[0] == Log()
    assert chosen(fields[:, :2])[0] == chosen(fields[:, :1])[0] == Standard()
    scaled = (fields[:, :2] - fields[:, :2].mean((0, 2, 3), keepdims=True)) * np.reshape([0.05, 0.15], (2, 1, 1))
    assert chosen(scaled)[0] == AsStored()  # somebody did it already
    assert chosen(np.random.default_rng(0).exponential(3, (100, 1, 32)))[0] == Standard()
    assert chosen(np.zeros((4, 1, 8, 8), np.uint8))[0] == Pixels()
    assert Automatic().measured(Dataset.from_arrays(fields)) == rain.measured(Dataset.from_arrays(fields))


class TestTransparent:
    """What nobody sees is white: pixels that are wholly transparent, nearly so, and opaque."""

    def test_white_under_transparent_pixels_both_ways(self) -> None:
        pixels = [[10, 20, 30, 0], [10, 20, 30, 1], [40, 50, 60, 255]]
        stored = torch.tensor(pixels, dtype=torch.uint8).T.reshape(1, 4, 3, 1)
        seen = [[255, 255, 255, 0], [10, 20, 30, 1], [40, 50, 60, 255]]
        x = Transparent().to_model(stored)
        assert (x * 127.5 + 127.5).round().reshape(4, 3).T.tolist() == seen
        assert Transparent().to_data(x).reshape(4, 3).T.tolist() == seen
        # Alpha -0.999 is the 8-bit level 0, so its pixel is white, too.
        assert Transparent().to_data(torch.tensor([0.2, -0.999]).reshape(1, 2, 1, 1)).flatten().tolist() == [255, 0]
        assert stored[0, 0, 0, 0] == 10

    def test_chosen_for_pictures_with_alpha_alone(self) -> None:
        for channels, chosen in [(1, Pixels()), (2, Transparent()), (3, Pixels()), (4, Transparent())]:
            dataset = Dataset.from_arrays(torch.zeros(2, channels, 4, 4, dtype=torch.uint8))
            assert choose_scaling(dataset)[0] == chosen

    def test_pictures_without_alpha_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"images of shape \(3, 4, 4\) have no alpha channel"):
            Transparent().to_model(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))

    def test_features_do_not_see_it(self) -> None:
        """Two sets that look the same have the same features."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (60, 4, 4, 4), dtype=torch.uint8, generator=generator)
        images[:, 3, :2] = 0
        other = images.clone()
        other[:, :3, :2] = torch.randint(0, 256, (60, 3, 2, 4), dtype=torch.uint8, generator=generator)
        first, second = Dataset.from_arrays(images), Dataset.from_arrays(other)
        extractor = extractor_by_name("pca-5", first, device=torch.device("cpu"), batch_size=None)
        np.testing.assert_array_equal(extractor(first.images([0, 1, 2])), extractor(second.images([0, 1, 2])))
