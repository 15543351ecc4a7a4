"""NumPy files as data sets."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from elucidiff.data.labels import Labels
from elucidiff.data.sources import ArraySource, Contents, Images, MappedSource, arrange

_IMAGE_NAMES = ("images", "arr_0")
_LABEL_NAMES = ("labels", "arr_1")
_VALUES_AT_ONCE = 1 << 22


def open_npy(path: Path) -> Contents:
    """A ``.npy`` file ``(N, C, *spatial)``, mapped into memory; see :func:`elucidiff.data.open`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, holds Python objects, no images, or values that are not finite.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _unreadable(path, error) from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is not a .npy file")
    axes = check_array(array, str(path))
    return Contents(path.stem, MappedSource(path, axes))


def open_npz(path: Path) -> Contents:
    """A ``.npz`` file with images and perhaps labels, read into memory; see :func:`elucidiff.data.open`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, holds Python objects, no images, or values that are not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names = file.files
            image_name = names[0] if len(names) == 1 else next((name for name in _IMAGE_NAMES if name in names), None)
            if image_name is None:
                raise ValueError(f"it holds {', '.join(names) or 'nothing'}; name the arrays images and labels")
            images = file[image_name]
            label_name = next((name for name in _LABEL_NAMES if name in names and name != image_name), None)
            labels = None if label_name is None else file[label_name]
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise _unreadable(path, error) from None
    axes = check_array(images, str(path))
    images = arrange(images, axes)
    return Contents(
        path.stem,
        ArraySource(images),
        None if labels is None else Labels.from_array(labels, len(images), str(path)),
    )


def check_array(array: Images, where: str) -> tuple[int, ...] | None:
    """Check that an array holds images, and find where its axes are.

    Returns:
        the axes for :func:`elucidiff.data.sources.arrange`.

    Raises:
        ValueError: another type than uint8 or floating point, no images, values that are not finite.
    """
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ValueError(f"{where} holds {array.dtype}: save it as uint8 (0..255) or as floating point")
    if array.dtype.itemsize > 8:
        raise ValueError(f"{where} holds {array.dtype}: save it as float64 or float32")
    if array.ndim < 2 or not array.size:
        raise ValueError(f"{where} has shape {array.shape}: expected (N, C, *spatial) with at least one image")
    if array.dtype.kind == "f":
        _check_finite(array, where)
    return _axes(array)


def _axes(array: Images) -> tuple[int, ...] | None:
    """Pictures are often stored without a channel axis, or with it at the end."""
    if array.dtype != np.uint8 or array.shape[1] <= 4:
        return None
    if array.ndim == 3:
        return (0, -1, 1, 2)
    if array.ndim == 4 and array.shape[3] in (1, 3, 4):
        return (0, 3, 1, 2)
    return None


def _check_finite(array: Images, where: str) -> None:
    step = max(1, _VALUES_AT_ONCE * len(array) // array.size)
    for start in range(0, len(array), step):
        chunk = array[start : start + step]
        finite = np.isfinite(chunk)
        if not finite.all():
            image, *rest = (int(place) for place in np.argwhere(~finite)[0])
            position = ", ".join(str(place) for place in (start + image, *rest))
            raise ValueError(f"{where} holds {chunk[(image, *rest)]} at [{position}]: all values must be finite")


def _unreadable(path: Path, error: Exception) -> ValueError:
    text = " ".join(str(error).split())
    if any(sign in text for sign in ("allow_pickle", "Object arrays", "Python objects")):
        text = "it is damaged, or holds Python objects, which are never unpickled"
    return ValueError(f"cannot read {path}: {text}")


def in_memory(name: str, images: Images, labels: Any = None, names: tuple[str, ...] = ()) -> Contents:
    """Images ``(N, C, *spatial)`` and labels that are in memory already."""
    return Contents(
        name,
        ArraySource(images),
        None if labels is None else Labels.from_array(labels, len(images), name, names),
    )
