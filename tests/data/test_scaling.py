from __future__ import annotations

import pytest
import torch

from elucidiff.data import to_unit


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
