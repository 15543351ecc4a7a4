"""Samples that are described as they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elucidiff.data import to_uint8
from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.evaluation.quality import BlockStore, OfModel, extract_features
from elucidiff.sampling import Sampler, parse_seeds
from tests.evaluation.quality.small import Counting

POINTS = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
SAMPLER = Sampler(steps="karras:n=4")


class Ideal:
    """An exact denoiser that states the shape of its samples, and counts them."""

    sample_shape, label_dim, sigma_min, sigma_max = (1, 8, 8), 0, 0.0, float("inf")

    def __init__(self) -> None:
        self.denoiser, self.seen = DataPosterior(POINTS), 0

    def __call__(self, x: Tensor, sigma: Any) -> Tensor:
        self.seen += len(x)
        return self.denoiser(x, sigma)

    def round_sigma(self, sigma: Any) -> Tensor:
        return torch.as_tensor(sigma)


def test_rows_are_those_of_the_samples(tmp_path: Path) -> None:
    images = OfModel(Ideal(), SAMPLER, parse_seeds("5-154"), batch_size=8)
    extractor = Counting()
    extracted = extract_features(images, extractor, BlockStore(tmp_path))
    expected = extractor(to_uint8(SAMPLER.run(Ideal(), range(5, 155), batch_size=8).x))
    np.testing.assert_array_equal(extracted.features, expected)
    assert extracted.cost.tolist() == [7.0] * 150


def test_stopped_anywhere_it_goes_on(tmp_path: Path) -> None:
    whole = extract_features(
        OfModel(Ideal(), SAMPLER, parse_seeds("0-299"), batch_size=8), Counting(), BlockStore(tmp_path / "a")
    )
    images, store, extractor = (
        OfModel(Ideal(), SAMPLER, parse_seeds("0-299"), batch_size=8),
        BlockStore(tmp_path / "b"),
        Counting(),
    )

    class StoppedError(Exception):
        pass

    batches = 0

    def stop_in_the_second_block() -> None:
        nonlocal batches
        batches += 1
        if batches == 20:
            raise StoppedError

    with pytest.raises(StoppedError):
        extract_features(
            OfModel(Ideal(), SAMPLER, parse_seeds("0-299"), batch_size=8, between=stop_in_the_second_block),
            extractor,
            store,
        )
    assert sum(extractor.described) == 128
    seen = images.denoiser.seen
    resumed = extract_features(images, extractor, store)
    np.testing.assert_array_equal(resumed.features, whole.features)
    # 172 samples in padded batches of 8, seven evaluations each.
    assert images.denoiser.seen - seen == 7 * (128 + 48)
    more = OfModel(Ideal(), SAMPLER, parse_seeds("0-383"), batch_size=8)
    extract_features(more, extractor, store)
    assert more.denoiser.seen == 7 * 128  # the last block alone, which has more seeds now


def test_the_name_of_a_block_tells_its_seeds_and_labels() -> None:
    odd = OfModel(Ideal(), SAMPLER, parse_seeds(",".join(str(2 * k) for k in range(200))))
    names = {odd.name(range(start, start + 100)) for start in (0, 100)}
    assert len(names) == 2
    assert all(len(name) == 32 for name in names)
    labels = OfModel(Ideal(), SAMPLER, parse_seeds("0-9"), torch.tensor([0, 1, 2]))
    assert [labels.name(range(start, start + 2)) for start in (0, 1, 3)] == ["0-1@0", "1-2@1", "3-4@0"]


def test_samples_that_are_not_finite_are_named(tmp_path: Path) -> None:
    class Broken(Ideal):
        def __call__(self, x: Tensor, sigma: Any) -> Tensor:
            d = super().__call__(x, sigma)
            d[1] = float("nan")
            return d

    with pytest.raises(ValueError, match="seed 8 gave values that are not finite"):
        extract_features(
            OfModel(Broken(), SAMPLER, parse_seeds("7-30"), batch_size=8), Counting(), BlockStore(tmp_path)
        )


def test_facts_tell_what_decides_a_sample() -> None:
    one = OfModel(Ideal(), SAMPLER, parse_seeds("0-9")).facts("m", None)
    assert OfModel(Ideal(), SAMPLER, parse_seeds("0-99")).facts("m", None) == one
    others = [
        OfModel(Ideal(), Sampler(steps="karras:n=5"), parse_seeds("0-9")).facts("m", None),
        OfModel(Ideal(), SAMPLER, parse_seeds("0-9"), torch.tensor([1])).facts("m", None),
        OfModel(Ideal(), SAMPLER, parse_seeds("0-9"), batch_size=8).facts("m", None),
        OfModel(Ideal(), SAMPLER, parse_seeds("0-9")).facts("n", None),
        OfModel(Ideal(), SAMPLER, parse_seeds("0-9")).facts("m", "g"),
    ]
    assert all(other != one for other in others)
