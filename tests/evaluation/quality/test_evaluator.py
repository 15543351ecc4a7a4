"""An evaluator says the same of samples, of their files and of streams, and finds mistakes first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from elucidiff import data, evaluation
from elucidiff.data import Dataset, to_uint8
from elucidiff.evaluation.quality import Evaluator, markdown, repeated
from elucidiff.evaluation.quality.reference import open_reference
from tests.evaluation.quality.small import Counting, script


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.open("digits", labels=False)


@pytest.fixture(scope="module")
def evaluator(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    """Against the first 600 digits, by their principal components."""
    part = digits.select(range(600))
    components = evaluation.principal_components(part, 5)
    reference = open_reference(part, components, cache=tmp_path_factory.mktemp("cache"))
    return Evaluator(components, reference, ("fid", "precision", "recall"))


def test_a_stream_and_its_rows_have_the_same_figures(evaluator: Evaluator, digits: Dataset) -> None:
    rest = digits.images(range(1000, 1060))
    rows = evaluator.extractor(rest)
    ticks: list[None] = []
    every = Evaluator(evaluator.extractor, evaluator.reference, ("recall", "kid", "fid"))
    whole, streamed = every.quality(rows, lambda: ticks.append(None)), every.measure(rest.split(16))
    assert whole == streamed
    assert len(ticks) == every.steps == 30
    assert {name: each.value for name, each in whole.metrics.items()} == every.values(rows)
    assert (whole.count, whole.reference_count) == (60, 600)
    assert list(every.metrics.items()) == [("fid", True), ("kid", True), ("recall", False)]


def test_digits_out_of_place_are_worse_than_held_out_ones(evaluator: Evaluator, digits: Dataset) -> None:
    images = digits.images(range(1000, 1120))
    real, moved = (evaluator.quality(evaluator.extractor(each)).metrics for each in (images, images.roll(3, 3)))
    assert real["fid"].value + 10 * moved["fid"].error < moved["fid"].value
    assert real["precision"].value > 0.6 > 0.5 > moved["precision"].value
    assert real["recall"].value > 0.6 > 0.1 > moved["recall"].value
    assert all(each.error > 0 for each in real.values())


def test_samples_are_rounded_as_files_are(evaluator: Evaluator) -> None:
    x = torch.randn(30, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    np.testing.assert_array_equal(evaluator.features(x), evaluator.extractor(to_uint8(x)))
    x[4, 0, 0, 0] = float("nan")
    rows = evaluator.features(x)
    assert np.flatnonzero(np.isnan(rows).any(1)).tolist() == [4]
    with pytest.raises(ValueError, match="image 4 is not finite"):
        evaluator.values(rows)


def test_components_need_neither_pictures_nor_rounding(tmp_path: Path) -> None:
    np.save(tmp_path / "signals.npy", np.random.default_rng(0).normal(size=(50, 2, 16)).astype(np.float32))
    signals = data.open(tmp_path / "signals.npy")
    components = evaluation.principal_components(signals, 4)
    evaluator = Evaluator(components, open_reference(signals, components, cache=tmp_path))
    array = signals.images().double().numpy()
    scaled = (array - array.mean((0, 2), keepdims=True)) / array.std((0, 2), keepdims=True)
    expected = components.components.transform(scaled.reshape(50, -1))
    np.testing.assert_allclose(evaluator.features(signals.images().double()), expected, atol=1e-5)
    assert evaluator.values(expected)["fid"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match=r"fitted to float32 images of shape \(2, 16\), not uint8"):
        components.check((2, 16), torch.uint8)
    with pytest.raises(ValueError, match="50 principal components of 50 images"):
        evaluation.principal_components(signals, 50)


def test_distances_of_fields_do_not_depend_on_units() -> None:
    random = np.random.default_rng(0)
    real, other = random.normal(size=(60, 2, 16)), random.normal(size=(60, 2, 16)) * 1.3 + 0.2

    def distance(units: np.ndarray, offset: np.ndarray) -> float:
        reference = data.Dataset.from_arrays(real * units + offset)
        components = evaluation.principal_components(reference, 5)
        evaluator = Evaluator(components, open_reference(reference, components))
        return evaluator.measure([torch.from_numpy(other * units + offset)]).metrics["fid"].value

    in_standard_deviations = distance(np.ones((2, 1)), np.zeros((2, 1)))
    in_pascal_and_parts = distance(np.array([[2e3], [1e-4]]), np.array([[1e5], [0.02]]))
    assert in_pascal_and_parts == pytest.approx(in_standard_deviations, rel=1e-4)


def test_mistakes_are_found_first(evaluator: Evaluator, digits: Dataset, tmp_path: Path) -> None:
    wrong = [
        ((1, 8, 9), torch.uint8, 400, r"images have shape \(1, 8, 9\).* those of the reference digits \(1, 8, 8\)"),
        ((3, 8, 8), torch.uint8, 400, r"images have shape \(3, 8, 8\)"),
        ((1, 8, 8), torch.float32, 400, "fitted to uint8 images"),
        ((1, 8, 8), torch.uint8, 19, "19 images are too few to evaluate: at least 20"),
    ]
    for shape, dtype, count, says in wrong:
        with pytest.raises(ValueError, match=says):
            evaluator.check(shape, dtype, count)
    evaluator.check((1, 8, 8), torch.uint8, 20)
    many = evaluation.principal_components(digits, 20)
    infinity = Evaluator(many, open_reference(digits, many, cache=tmp_path), ["fid_infinity"])
    with pytest.raises(ValueError, match="fid_infinity needs at least 80 images with 20 features: 79 are too few"):
        infinity.check((1, 8, 8), torch.uint8, 79)
    infinity.check((1, 8, 8), torch.uint8, 80)
    few = open_reference(digits.select(range(10)), evaluator.extractor, cache=tmp_path)
    with pytest.raises(ValueError, match="10 reference images are too few"):
        Evaluator(evaluator.extractor, few).check((1, 8, 8), torch.uint8, 50)
    with pytest.raises(ValueError, match="'fids' is unknown; did you mean 'fid'"):
        Evaluator(evaluator.extractor, evaluator.reference, ["fids"])
    with pytest.raises(ValueError, match="needs logits, which pca-5 does not make"):
        Evaluator(evaluator.extractor, evaluator.reference, ["is"])
    with pytest.raises(ValueError, match="was described by pca-5-"):
        Evaluator(Counting(), evaluator.reference)
    np.savez(tmp_path / "stats.npz", mu=np.zeros(5), sigma=np.eye(5))
    with pytest.raises(ValueError, match=r"kid compares images, but stats\.npz holds statistics alone"):
        Evaluator(evaluator.extractor, open_reference(tmp_path / "stats.npz", evaluator.extractor), ["kid"])


def test_too_few_images_are_flagged(evaluator: Evaluator, digits: Dataset) -> None:
    rows = evaluator.extractor(digits.images(range(1000, 1049)))
    every = Evaluator(evaluator.extractor, evaluator.reference, ("fid", "kid", "precision", "recall"))
    said = {warned.metrics: warned.text for warned in every.quality(rows, errors=False).warnings}
    assert said[("fid",)].startswith("49 IMAGES ARE FEW FOR 5 FEATURES")
    assert said[("kid",)].startswith("KID IS OVER SUBSETS OF 49 IMAGES")
    assert said[("precision", "recall")].startswith("PRECISION AND RECALL DEPEND ON BOTH")
    many = Evaluator(evaluator.extractor, evaluator.reference).quality(
        evaluator.extractor(digits.images(range(1000, 1050)))
    )
    assert many.warnings == ()


def test_more_features_than_images_are_flagged_as_mostly_bias(digits: Dataset, tmp_path: Path) -> None:
    file = script(tmp_path / "colours.pt")
    extractor = evaluation.open_extractor(file)
    evaluator = Evaluator(extractor, open_reference(digits.select(range(500)), extractor, cache=tmp_path))
    quality = evaluator.quality(extractor(digits.images(range(24))))
    assert quality.warnings[0].text.startswith("24 IMAGES ARE FAR TOO FEW FOR 24 FEATURES")
    assert "(!) 24 IMAGES ARE FAR TOO FEW" in markdown(quality)


def test_repeats(evaluator: Evaluator, digits: Dataset) -> None:
    rows = evaluator.extractor(digits.images(range(1000, 1150)))
    parts = [evaluator.quality(rows[start : start + 50], errors=False) for start in (0, 50, 100)]
    together = repeated(parts)
    values = [part.metrics["fid"].value for part in parts]
    assert together.metrics["fid"].values == tuple(values)
    assert together.metrics["fid"].value == pytest.approx(np.mean(values))
    assert together.metrics["fid"].error == pytest.approx(np.std(values, ddof=1) / 3**0.5)
    text = markdown(together)
    assert "3 x 50" in text
    assert f"{np.mean(values):.3f}"[:5] in text
    assert repeated(parts[:1]) is parts[0]
    other = evaluator.quality(evaluator.extractor(digits.images(range(1000, 1100))), errors=False)
    with pytest.raises(ValueError, match="compare like with like"):
        repeated([parts[0], other])
    with pytest.raises(ValueError, match="nothing to take the mean of"):
        repeated([])
