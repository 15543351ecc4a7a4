"""Which of several named arrays, or of the columns of a table, are images and which are labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
    """

    images: str
    labels: str | None


def split_name(name: str) -> tuple[str, str]:
    """A name without the part of the data set that it speaks of, and that part: train, test, val or ""."""
    text = name.strip().lower()
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


def choose(
    axes: Mapping[str, int], where: str, part: str | None, reading: Reading, kind: str = "array"
) -> tuple[list[Chosen], tuple[str, ...]]:
    """The arrays to read, for each part that is wanted, and notes on the choice.

    Args:
        axes: the names that are there, and of how many axes each is.
        where: what to call the file in a message.
        part: train, test, val, all; None for train where there are parts.
        reading: names that were asked for.
        kind: what to call one of them in a message.

    Raises:
        ValueError: no images can be told from the names, or there is no such part.
    """
    listed = ", ".join(axes) or "nothing"
    for key in (reading.image_column, reading.label_column):
        if key is not None and key not in axes:
            raise ValueError(f"{where} has no {kind} {key!r}: it holds {listed}")
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
            f"{where} holds {listed}; name the {kind}s images and labels, or import it with --image-column NAME"
        )
    if reading.label_column is not None:
        labels = dict.fromkeys(images, reading.label_column)
    else:
        labels = _by_part({name: axes[name] for name in axes if name not in images.values()}, LABEL_NAMES)
        if set(images) == {""} and split_name(images[""])[1] == "" and "" not in labels:
            lone = [name for name in axes if name not in images.values() and axes[name] == 1]
            if images[""].lower() == "arr_1" and lone == ["arr_0"]:
                labels = {"": "arr_0"}
    return _of_part(images, labels, where, part, axes, kind)


def _of_part(
    images: Mapping[str, str],
    labels: Mapping[str, str],
    where: str,
    part: str | None,
    axes: Mapping[str, int],
    kind: str,
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
    chosen = [Chosen(images[name], labels.get(name)) for name in wanted]
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
