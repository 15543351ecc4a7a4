"""The folder that an import writes: memory-mapped images, labels, and what they are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elucidiff import parts
from elucidiff.data.conditions import Derived
from elucidiff.data.labels import Labels
from elucidiff.data.npy import mapped_npy, read_array
from elucidiff.data.sources import Contents, Images, Originals, Source
from elucidiff.untrusted import clipped, open_regular, printable, read_json

IMAGES, LABELS, META = "images.npy", "labels.npy", "meta.json"
CONDITIONS = "conditions"
"""The folder of the conditions that are stored, an imported set of its own."""
STORED = "stored"
"""The word of ``meta.json`` for such conditions, in place of how they are made of the images."""
PICTURES = "pictures"
"""Of latents: the folder with the pictures that they were made of."""
FORMAT = "elucidiff-data"
VERSION = 2


def is_imported(folder: Path) -> bool:
    """True if an import wrote this folder."""
    return (folder / META).is_file() and (folder / IMAGES).is_file()


def read_meta(folder: Path) -> dict[str, Any]:
    """The content of ``meta.json`` in an imported folder.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, lacks an entry, or is of a version that is not known.
    """
    path = folder / META
    meta = read_json(path)
    if not isinstance(meta, dict) or "format" not in meta or "version" not in meta:
        raise ValueError(f"{printable(str(path))} is damaged (it names no format): import the data again")
    if (meta["format"], meta["version"]) != (FORMAT, VERSION):
        found = printable(f"{meta['format']} {meta['version']}"[:80])
        raise ValueError(f"{printable(str(path))} is of format {found}; expected {FORMAT} {VERSION}: import again")
    for name, fits in _ENTRIES.items():
        if name not in meta or not fits(meta[name]):
            raise ValueError(
                f"{printable(str(path))} is damaged ({name} is {'missing' if name not in meta else 'wrong'}): import"
                " the data again"
            )
    if len(meta["class_names"]) not in (0, meta["label_dim"]):
        raise ValueError(
            f"{printable(str(path))} is damaged ({len(meta['class_names'])} class_names, but label_dim"
            f" {clipped(str(meta['label_dim']))}): import the data again"
        )
    return meta


def condition_of(meta: Mapping[str, Any]) -> str:
    """The way in which conditions are made of the images, or :data:`STORED`; empty for none."""
    return str(meta.get("condition", ""))


def open_imported(folder: Path) -> Contents:
    """Open an imported folder; the images are mapped and not read.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is damaged or does not fit ``meta.json``.
    """
    meta = read_meta(folder)
    try:
        images = mapped_npy(folder / IMAGES)
        values = _load(folder / LABELS) if meta["label_dim"] else None
    except ValueError as error:
        raise ValueError(f"{folder} is damaged ({error}): import the data again") from None
    found = [len(images), *images.shape], str(images.dtype)
    if found != ([meta["count"], *meta["shape"]], meta["dtype"]):
        raise ValueError(f"{folder / IMAGES} holds {found[1]} {tuple(found[0])}, which is not what was imported")
    labels = None
    if values is not None:
        if hashlib.sha256(values.tobytes()).hexdigest() != meta.get("sha256_labels"):
            raise ValueError(
                f"{folder / LABELS} has changed since it was imported (checksums differ): import it again"
            )
        # Some classes may have no image.
        names, classes = tuple(meta["class_names"]), meta["label_dim"]
        labels = Labels.from_array(values, len(images), str(folder / LABELS), names, classes=classes)
    return Contents(
        meta["name"],
        images,
        labels,
        meta["sha256_images"],
        conditions=_conditions(folder, condition_of(meta), images),
        originals=_originals(folder, meta),
    )


def _conditions(folder: Path, condition: str, images: Source) -> Source | None:
    """The conditions that an imported set has, stored or made of its images."""
    if not condition:
        return None
    if condition != STORED:
        return Derived(images, parts.parse("condition", condition))
    if not is_imported(folder / CONDITIONS):
        raise ValueError(f"{folder} is not finished, it lacks its conditions: import it again")
    stored = open_imported(folder / CONDITIONS).source
    if len(stored) != len(images):
        raise ValueError(
            f"{folder / CONDITIONS} holds {len(stored):,} conditions for {len(images):,} images: import them again"
        )
    return stored


def _originals(folder: Path, meta: dict[str, Any]) -> Originals | None:
    """The set that latents were made of; None for a set of something else."""
    said = meta.get("latents")
    if said is None:
        return None
    entries = {"pictures": str, "sha256_pictures": str, "autoencoder": dict}
    if not isinstance(said, dict) or not all(isinstance(said.get(name), kind) for name, kind in entries.items()):
        raise ValueError(f"{printable(str(folder / META))} is damaged (latents is wrong): import the data again")
    return Originals(folder, said["autoencoder"], folder / said["pictures"], said["sha256_pictures"])


def _load(path: Path) -> Images:
    with open_regular(path) as file:
        return read_array(file, str(path), os.fstat(file.fileno()).st_size)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _all(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, list) and all(map(fits, values))


_ENTRIES: dict[str, Callable[[Any], bool]] = {
    "name": _is_text,
    "count": _is_count,
    "shape": _all(_is_count),
    "dtype": _is_text,
    "label_dim": _is_count,
    "class_names": _all(_is_text),
    "skipped": _all(_is_text),
    "enlarged": _is_count,
    "notes": _all(_is_text),
    "key": _is_text,
    "sha256": _is_text,
    "sha256_images": _is_text,
    "sha256_source": _is_text,
}
