"""Seeds as ranges: a list of any length in a few bytes."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class SeedRanges(Sequence[int]):
    """The seeds of some ranges, one after the other, as a sequence that is never written out.

    ``str`` gives the shortest text that :func:`.parse_seeds` reads back; ranges that continue each other are one.

    Args:
        ranges: ranges of step 1.
    """

    def __init__(self, ranges: Iterable[range]) -> None:
        joined: list[range] = []
        for part in ranges:
            if joined and joined[-1].stop == part.start:
                joined[-1] = range(joined[-1].start, part.stop)
            elif part:
                joined.append(part)
        self._ranges = joined
        self._ends = list(itertools.accumulate(map(len, joined)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[int]:
        return itertools.chain.from_iterable(self._ranges)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> SeedRanges: ...
    def __getitem__(self, index: int | slice) -> int | SeedRanges:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return SeedRanges(self._between(start, stop))
            return SeedRanges(range(self[k], self[k] + 1) for k in range(start, stop, step))
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"there are {len(self)} seeds, none has index {index}")
        at = bisect_right(self._ends, place)
        return self._ranges[at][place - self._ends[at]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeedRanges) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(tuple(self._ranges))

    def __str__(self) -> str:
        return ",".join(str(r.start) if len(r) == 1 else f"{r.start}-{r.stop - 1}" for r in self._ranges)

    def __repr__(self) -> str:
        return f"SeedRanges({str(self)!r})"

    @property
    def largest(self) -> int:
        """The largest seed.

        Raises:
            ValueError: there are none.
        """
        return max(part.stop for part in self._ranges) - 1

    def first_repeated(self) -> int | None:
        """The smallest seed that is there more than once; None if all differ."""
        reached = 0
        for part in sorted(self._ranges, key=lambda part: part.start):
            if part.start < reached:
                return part.start
            reached = part.stop
        return None

    def _between(self, start: int, stop: int) -> Iterator[range]:
        for part, end in zip(self._ranges, self._ends, strict=True):
            begin = end - len(part)
            yield part[max(start - begin, 0) : max(stop - begin, 0)]
