"""Hold some images out of the training."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from elucidiff.data.dataset import Dataset


def split(
    dataset: Dataset,
    held_out: float | int,
    *,
    seed: int = 0,
    stratified: bool | None = None,
) -> tuple[Dataset, Dataset]:
    """Split a data set into one to train with and one that is held out, the same way every time.

    An image and its mirror image stay together and count once. Both parts keep the order of the data set.

    Args:
        dataset: the whole.
        held_out: how many images to hold out: a share if it is a float, a number if it is an int.
        seed: of the draw.
        stratified: hold out the same share of every class, to within one image. None: if the images have classes.

    Returns:
        the training part and the held-out part.

    Raises:
        ValueError: nothing would be left of one part, or there are no classes to stratify by.

    >>> import elucidiff as ed
    >>> rest, held_out = ed.data.split(ed.data.open("digits"), 0.1)
    >>> len(rest), len(held_out), rest.label_dim
    (1617, 180, 10)
    """
    rows, first, place = np.unique(dataset.source_rows.numpy(), return_index=True, return_inverse=True)
    count = round(held_out * len(rows)) if isinstance(held_out, float) else held_out
    if not 0 < count < len(rows):
        raise ValueError(f"holding {held_out} out of {len(rows)} images leaves one part empty")
    classes = dataset.classes
    if stratified is None:
        stratified = classes is not None
    if stratified and classes is None:
        raise ValueError(f"{dataset.name} has no classes to stratify by")
    # NumPy keeps the stream of RandomState the same for ever.
    order = np.random.RandomState(seed).permutation(len(rows))
    if stratified and classes is not None:
        chosen = _stratified(classes.numpy()[first], order, count)
    else:
        chosen = order[:count]
    held = np.isin(place, chosen)
    return dataset.select(np.flatnonzero(~held)), dataset.select(np.flatnonzero(held))


def _stratified(classes: npt.NDArray[np.int64], order: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The first of each class in ``order``; as many as its share, and the largest remainders make up the number."""
    sizes = np.bincount(classes)
    exact = sizes * count / len(classes)
    quota = np.floor(exact).astype(np.int64)
    largest = np.argsort(-(exact - quota), kind="stable")
    quota[largest[: count - quota.sum()]] += 1
    shuffled = classes[order]
    return np.concatenate([order[shuffled == index][:number] for index, number in enumerate(quota)])


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
