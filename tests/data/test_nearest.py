"""Nearest images, against a direct search."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from elucidiff.data.nearest import nearest_images


@given(st.integers(1, 4), st.integers(1, 9), st.integers(4, 30), st.integers(0, 100))
def test_pieces_change_nothing_and_all_digits_are_right(count: int, piece: int, size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    reference = torch.randn(size, 2, 3, 4, generator=generator)
    images = torch.cat([torch.randn(3, 2, 3, 4, generator=generator), reference[:2] + 1e-6])
    distances, indices = nearest_images(images, torch.split(reference, piece), count)
    direct = (images[:, None].double() - reference[None].double()).square().flatten(2).mean(2).sqrt()
    expected = direct.sort(dim=1)
    torch.testing.assert_close(distances, expected.values[:, :count], rtol=1e-12, atol=0)
    assert torch.equal(indices, expected.indices[:, :count])


def test_of_equally_near_ones_the_first_comes_first() -> None:
    reference = torch.ones(6, 1, 2)
    distances, indices = nearest_images(torch.zeros(1, 1, 2), torch.split(reference, 2), 3)
    assert distances.tolist() == [[1.0, 1.0, 1.0]]
    assert sorted(indices[0].tolist()) == [0, 1, 2]
