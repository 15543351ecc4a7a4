"""The endless order in which training visits the images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

# A run over this many positions needs a few MB.
_POSITIONS_AT_ONCE = 1 << 16


class InfiniteOrder:
    """Indices of a data set, for ever: every image about equally often, in an order that never repeats.

    The order starts as a random permutation. After position i of it has been visited (i counts on beyond n and
    wraps around), that entry changes places with one of the ``window`` entries visited last, drawn uniformly. So
    an image that was just seen may come again soon, but none is forgotten. This is the order that the models of
    Karras et al. 2022 were trained in, and with equal arguments it is the same, index for index.

    All processes of a run hold the same order; process ``rank`` takes every ``replicas``-th position of it.

    The order at a position follows from the seed alone. Going there costs a swap for each position passed, some
    millions a second, so a run is resumed with ``start``.

    Args:
        n: number of images.
        rank, replicas: which of how many processes this is.
        shuffle: False for 0, 1, ..., n - 1 over and over.
        seed: of the shuffling.
        window: how far back a visited entry may move, as a share of ``n``.
        start: how many indices this process has had already.

    Raises:
        ValueError: an argument out of its range.

    >>> import elucidiff as ed
    >>> order = ed.data.InfiniteOrder(5, seed=0)
    >>> first, later = [next(order) for _ in range(50)], [next(order) for _ in range(3)]
    >>> set(first) == set(range(5)), [next(ed.data.InfiniteOrder(5, seed=0, start=50))] == later[:1]
    (True, True)
    """

    def __init__(
        self,
        n: int,
        *,
        rank: int = 0,
        replicas: int = 1,
        shuffle: bool = True,
        seed: int = 0,
        window: float = 0.5,
        start: int = 0,
    ) -> None:
        if n < 1:
            raise ValueError(f"an order of {n} images: there must be at least 1")
        if not 0 <= rank < replicas:
            raise ValueError(f"rank is {rank}, but must be in 0..{replicas - 1}, the number of replicas less 1")
        if not 0 <= window <= 1:
            raise ValueError(f"window is {window}, but must be a share of the data set, 0 to 1")
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed is {seed}, but must be in 0..{2**32 - 1}")
        if start < 0:
            raise ValueError(f"start is {start}, but must not be negative")
        self._rank, self._replicas = rank, replicas
        # NumPy keeps the stream of RandomState the same for ever, which it does not promise for its newer generators.
        self._random = np.random.RandomState(seed)
        order = np.arange(n)
        self._window = 0
        if shuffle:
            self._random.shuffle(order)
            self._window = round(n * window)
        self._order: list[int] = order.tolist()
        self._position = 0
        self._advance(start * replicas, None)

    def take(self, count: int) -> npt.NDArray[np.int64]:
        """The next ``count`` indices of this process, int64 ``(count,)``."""
        visited: list[int] = []
        self._advance(count * self._replicas, visited)
        return np.array(visited[self._rank :: self._replicas], dtype=np.int64)

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        return int(self.take(1)[0])

    def _advance(self, positions: int, visited: list[int] | None) -> None:
        """Go on by ``positions``, a multiple of the number of replicas, adding the indices met to ``visited``."""
        n, order = len(self._order), self._order
        end = self._position + positions
        while self._position < end:
            stop = min(end, self._position + _POSITIONS_AT_ONCE, (self._position // n + 1) * n)
            first = self._position % n
            last = first + stop - self._position
            if self._window >= 2:
                back = self._random.randint(self._window, size=last - first)
                others = (np.arange(first, last) - back) % n
                for i, j in enumerate(others.tolist(), first):
                    index = order[i]
                    if visited is not None:
                        visited.append(index)
                    order[i] = order[j]
                    order[j] = index
            elif visited is not None:
                visited += order[first:last]
            self._position = stop
