"""Telling images from labels among several named arrays, or the columns of a table."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from elucidiff.data.npy import Layout
from elucidiff.data.reading import Reading

# In order: the first that is there counts.
IMAGE_NAMES = (
    "images", "image", "imgs", "img", "x", "xs", "data", "samples", "pictures", "picture", "pixels", "pixel_values",
    "features", "inputs", "arr_0",
)  # fmt: skip
LABEL_NAMES = (
    "labels", "label", "y", "ys", "targets", "target", "classes", "class", "fine_label", "fine_labels", "arr_1",
)  # fmt: skip
_PARTS = {
    "train": "train", "training": "train", "tr": "train",
    "test": "test", "testing": "test", "te": "test",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
}  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """The arrays of one part.

    Attributes:
        images: name of the array of images.
        labels: name of that of labels, or None.
        guessed: whether that has no usual name, but is the only one that can be.
    """

    images: str
    labels: str | None
    guessed: bool = False


def split_name(name: str) -> tuple[str, str]:
    """A name without the part of the data set that it speaks of, and that part: train, test, val or "".

    Folders may name the part, or the array: ``train/images``, ``images/train``.
    """
    text = name.strip().lower()
    *folders, base = re.split(r"[/\\]", text)
    if folders:
        if base in _PARTS:
            return split_name(folders[-1])[0], _PARTS[base]
        known, part = split_name(base)
        return known, part or next((_PARTS[folder] for folder in folders if folder in _PARTS), "")
    if text in IMAGE_NAMES or text in LABEL_NAMES:
        return text, ""
    words = [word for word in re.split(r"[_\-. ]+", text) if word]
    for place in (-1, 0):
        if len(words) > 1 and words[place] in _PARTS:
            part = _PARTS[words.pop(place)]
            return "_".join(words), part
    found = re.fullmatch(r"(x|y)(train|test|val|valid)", text) or re.fullmatch(r"(train|test|val|valid)(x|y)", text)
    if found:
        one, two = found.groups()
        return (one, _PARTS[two]) if two in _PARTS else (two, _PARTS[one])
    return "_".join(words), ""


def without_shared_folders(names: Sequence[str]) -> list[str]:
    """Names without the folders in which all of them lie, which say nothing unless the last is a part."""
    folders = [name.split("/")[:-1] for name in names]
    levels = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False))
    shared = len(list(levels))
    if shared and folders[0][shared - 1].lower() in _PARTS:
        shared -= 1
    return ["/".join(name.split("/")[shared:]) for name in names]


def choose(
    layouts: Mapping[str, Layout], where: str, part: str | None, reading: Reading
) -> tuple[list[Chosen], tuple[str, ...]]:
    """The arrays to read, for each part that is wanted, and notes on the choice.

    Args:
        layouts: of the arrays that are there, by their names.
        where: what to call the file in a message.
        part: train, test, val, all; None for train where there are parts.
        reading: names that were asked for.

    Raises:
        ValueError: no images can be told from the names, or there is no such part.
    """
    axes = {name: len(layout.shape) for name, layout in layouts.items()}
    listed = ", ".join(axes) or "nothing"
    for key in (reading.image_column, reading.label_column):
        if key is not None and key not in axes:
            raise ValueError(f"{where} has no array {key!r}: it holds {listed}")
    if reading.image_column is not None:
        images = {"": reading.image_column}
    else:
        images = _by_part(axes, IMAGE_NAMES, lambda name: axes[name] >= 2)
        others = [name for name in axes if axes[name] >= 3 and name != reading.label_column]
        if not images and len(others) == 1:
            images = {"": others[0]}
        elif not images and len(axes) == 1:
            images = {"": next(iter(axes))}
    if not images:
        raise ValueError(
            f"{where} holds {listed}; name the arrays images and labels, or import it with --image-column NAME"
        )
    only: dict[str, str] = {}
    if reading.label_column is not None:
        labels = dict.fromkeys(images, reading.label_column)
    else:
        labels = _by_part({name: axes[name] for name in axes if name not in images.values()}, LABEL_NAMES)
        if reading.labels_from != "none":
            only = _only_labels(layouts, images, labels)
            labels |= only
    return _of_part(images, labels, only, where, part, axes)


def _only_labels(
    layouts: Mapping[str, Layout], images: Mapping[str, str], labels: Mapping[str, str]
) -> dict[str, str]:
    """For each part without labels, the only array of as many whole numbers or texts as there are images."""
    found = {}
    used = {*images.values(), *labels.values()}
    for part, name in images.items():
        whole = part == split_name(name)[1]  # else it was asked for, or named otherwise
        others = [
            other
            for other, layout in layouts.items()
            if other not in used
            and layout.dtype.kind in "biuSU"
            and layout.shape == layouts[name].shape[:1]
            and (split_name(other)[1] == part or not whole)
        ]
        if part not in labels and len(others) == 1:
            found[part] = others[0]
    return found


def _of_part(
    images: Mapping[str, str],
    labels: Mapping[str, str],
    guessed: Mapping[str, str],
    where: str,
    part: str | None,
    axes: Mapping[str, int],
) -> tuple[list[Chosen], tuple[str, ...]]:
    parts = [name for name in ("train", "val", "test") if name in images]
    if part is None:
        wanted = [""] if "" in images else ["train"] if "train" in images else parts[:1]
    elif part == "all":
        wanted = parts or [""]
    else:
        wanted = [part]
    if wanted[0] not in images:
        have = f"its parts are {', '.join(parts)}" if parts else "give its name alone"
        raise ValueError(f"{where} has no part {part!r}: {have}")
    chosen = [Chosen(images[name], labels.get(name), name in guessed) for name in wanted]
    notes = []
    if part is None and wanted != [""] and len(parts) > 1:
        rest = ", ".join(f":{name}" for name in [*(name for name in parts if name != wanted[0]), "all"])
        notes.append(
            f"{where}: the part {wanted[0]} ({images[wanted[0]]}) is read; {rest} after the name reads others"
        )
    used = {name for found in chosen for name in (found.images, found.labels)}
    others = [name for name in axes if name not in used and not split_name(name)[1]]
    if others:
        labels_are = f", labels from {chosen[0].labels}" if chosen[0].labels else ", no labels"
        notes.append(
            f"{where}: images are read from {chosen[0].images}{labels_are}; for one of {', '.join(others[:8])}"
            f"{' ...' if len(others) > 8 else ''}, import it with --image-column or --label-column NAME"
        )
    return chosen, tuple(notes)


def _by_part(names: Iterable[str], known: tuple[str, ...], fits: object = None) -> dict[str, str]:
    """The first known name of each part."""
    found: dict[str, tuple[int, str]] = {}
    for name in names:
        base, part = split_name(name)
        if base in known and (not callable(fits) or fits(name)):
            rank = known.index(base)
            if part not in found or rank < found[part][0]:
                found[part] = (rank, name)
    return {part: name for part, (_, name) in found.items()}
