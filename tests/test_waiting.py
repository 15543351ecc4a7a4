"""The watches see what they are there for."""

from __future__ import annotations

import pytest
import torch

from tests.waiting import OnDevice, Waits


def test_numbers_that_are_read() -> None:
    x = torch.arange(3.0)
    with Waits() as waits:
        x.sum().item()
        bool(x.sum() > 1)
        x[x > 1]
        x.nonzero()
    assert len(waits.found) == 4
    OnDevice.fetched.clear()
    y = x.as_subclass(OnDevice) * 2
    y.max().item()
    y.cpu()
    if y.sum() > 1:
        y[y > 1].tolist()
    y[y > 1] = 0
    assert OnDevice.fetched == ["item", "cpu", "__bool__", "__getitem__", "tolist", "__setitem__"]


def test_copies_that_are_waited_for() -> None:
    x, there = torch.arange(3.0), torch.empty(3, device="meta")
    with Waits("meta") as waits:
        assert float(x.sum()) == 3, "the CPU may read what is its own"
        there * x[0] + x.to("meta", non_blocking=True)
        there.copy_(x, True)
    assert waits.found == []
    with Waits("meta") as waits:
        x.to("meta")
        there.copy_(x)
        there[torch.tensor([0, 1])]
        with pytest.raises(RuntimeError, match="meta"):
            there.sum().item()
    assert len(waits.found) == 3
