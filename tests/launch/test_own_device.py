"""A device for each of several processes."""

from __future__ import annotations

import pytest
import torch

from elucidiff.devices import own_device


def test_the_cpu_is_shared() -> None:
    assert own_device("cpu", 5) == torch.device("cpu")


def test_a_gpu_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device("cuda", 1) == own_device("auto", 1) == torch.device("cuda:1")
    with pytest.raises(ValueError, match="has 2 GPUs, but process 2 of it needs one of its own"):
        own_device("cuda", 2)
    with pytest.raises(ValueError, match="every process takes a GPU of its own: use --device cuda"):
        own_device("cuda:1", 0)


def test_what_there_is_one_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ValueError, match="'mps' is one for all processes"):
        own_device("mps", 0)
