"""Recorded draws in place of a generator."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor


class Recorded:
    """A :class:`elucidiff.augment.base.Source` of recorded draws, in their order; it checks their kind."""

    def __init__(self, draws: Iterable[tuple[str, Tensor]]) -> None:
        self._draws = iter(draws)

    def integers(self, end: int) -> Tensor:
        drawn = self._next("randint")
        assert int(drawn.max()) < end
        return drawn.flatten()

    def uniform(self, rows: int = 1) -> Tensor:
        return self._shaped(self._next("rand"), rows)

    def normal(self, rows: int = 1) -> Tensor:
        return self._shaped(self._next("randn"), rows)

    def exhausted(self) -> bool:
        return next(self._draws, None) is None

    def _next(self, kind: str) -> Tensor:
        name, drawn = next(self._draws)
        assert name == kind
        return drawn

    @staticmethod
    def _shaped(drawn: Tensor, rows: int) -> Tensor:
        return drawn.flatten() if rows == 1 else drawn.reshape(rows, -1)
