"""Some images that stand for all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]


def evenly_spread(places: Places, count: int) -> Places:
    """``count`` of the positions, or all if there are fewer, evenly spread over them and in their order."""
    if len(places) <= count:
        return places
    return places[np.linspace(0, len(places) - 1, count).round().astype(np.int64)]


def of_each_class(places: Places, classes: Places, count: int) -> list[tuple[int, Places]]:
    """Positions of ``count`` images of each class, evenly spread over it: (class, positions), in order.

    Args:
        places: the positions to choose from.
        classes: the class of each image of the data set.
        count: how many of a class, or all of it if it has fewer.
    """
    of_place = classes[places]
    return [(int(label), evenly_spread(places[of_place == label], count)) for label in np.unique(of_place)]
