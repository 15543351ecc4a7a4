"""Nearest neighbours against a direct search."""

from __future__ import annotations

import pytest
import torch

from elucidiff.evaluation import nearest


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_equals_a_direct_search(chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10, 2, 3, 5, generator=generator)
    reference = torch.randn(23, 2, 3, 5, generator=generator)
    distance, index = nearest(images, reference, chunk=chunk)
    for k in range(10):
        rms = [(images[k].double() - other.double()).square().mean().sqrt().item() for other in reference]
        assert index[k].item() == min(range(23), key=rms.__getitem__)
        assert distance[k].item() == pytest.approx(min(rms), rel=1e-12)


def test_a_copy_has_distance_zero_and_a_shift_its_size() -> None:
    reference = torch.rand(5, 1, 4, 4)
    distance, index = nearest(reference[[3, 1]] + torch.tensor([0.0, 1e-4]).reshape(2, 1, 1, 1), reference)
    assert index.tolist() == [3, 1]
    assert distance[0] == 0
    assert distance[1].item() == pytest.approx(1e-4, rel=1e-3)


def test_bad_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4, 4\) cannot be compared with \(1, 5, 4\)"):
        nearest(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 5, 4))
    with pytest.raises(ValueError, match="empty"):
        nearest(torch.zeros(2, 1, 4, 4), torch.zeros(0, 1, 4, 4))
