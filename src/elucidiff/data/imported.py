"""The folder that an import writes: memory-mapped images, labels, and what they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from elucidiff.data.labels import Labels
from elucidiff.data.sources import Contents, MappedSource

IMAGES, LABELS, META = "images.npy", "labels.npy", "meta.json"
FORMAT = "elucidiff-data"
VERSION = 1


def is_imported(folder: Path) -> bool:
    """Whether an import wrote this folder."""
    return (folder / META).is_file() and (folder / IMAGES).is_file()


def read_meta(folder: Path) -> dict[str, Any]:
    """What ``meta.json`` of an imported folder says.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or of a version that is not known.
    """
    path = folder / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        known = meta["format"] == FORMAT and meta["version"] == VERSION
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): import the data again") from None
    if not known:
        raise ValueError(f"{path} is of format {meta['format']} {meta['version']}; expected {FORMAT} {VERSION}")
    return dict(meta)


def open_imported(folder: Path) -> Contents:
    """Open an imported folder; the images are mapped and not read.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is damaged or does not fit ``meta.json``.
    """
    meta = read_meta(folder)
    try:
        images = MappedSource(folder / IMAGES)
        values = np.load(folder / LABELS, allow_pickle=False) if meta["label_dim"] else None
    except (ValueError, EOFError) as error:
        raise ValueError(f"{folder} is damaged ({error}): import the data again") from None
    found = [len(images), *images.shape], str(images.dtype)
    if found != ([meta["count"], *meta["shape"]], meta["dtype"]):
        raise ValueError(f"{folder / IMAGES} holds {found[1]} {tuple(found[0])}, which is not what was imported")
    labels = None
    if values is not None:
        if hashlib.sha256(np.ascontiguousarray(values).data).hexdigest() != meta["sha256_labels"]:
            raise ValueError(
                f"{folder / LABELS} has changed since it was imported (checksums differ): import it again"
            )
        # Some classes may have no image.
        names, classes = tuple(meta["class_names"]), meta["label_dim"]
        labels = Labels.from_array(values, len(images), str(folder / LABELS), names, classes=classes)
    return Contents(meta["name"], images, labels, meta["sha256_images"])
