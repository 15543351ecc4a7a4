"""The noise that another library draws, as it draws it, so that ours can be given the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor


class Drawn(list[Tensor]):
    """Whatever ``torch.randn`` and ``torch.randn_like`` return from now on in a test, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)
        self._draw = torch.randn
        monkeypatch.setattr(torch, "randn", lambda *shape, **_: self.draw(*shape))
        monkeypatch.setattr(torch, "randn_like", lambda x, **_: self.draw(*x.shape))

    def draw(self, *shape: Any) -> Tensor:
        """Unit noise, remembered."""
        sizes = shape[0] if shape and not isinstance(shape[0], int) else shape
        self.append(self._draw(tuple(sizes), generator=self._generator))
        return self[-1]


def distance(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference as a part of the largest value."""
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())
