"""Pictures, masks and labels that a user hands in, in the form that a model takes them."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.data.conditions import Condition
from elucidiff.data.decoding import decode
from elucidiff.data.finding import find
from elucidiff.data.formats import SUFFIXES
from elucidiff.data.given import ConditionScaling
from elucidiff.data.npy import read_npy
from elucidiff.data.opening import open as open_dataset
from elucidiff.data.scaling import scaling_of
from elucidiff.data.sources import Named
from elucidiff.denoisers.base import AnyDenoiser, DenoiserModule, Wrapped
from elucidiff.denoisers.gaps import absent_in
from elucidiff.denoisers.labels import UNIFORM, KnownLabels
from elucidiff.untrusted import printable

_BEYOND = 1e-3  # what rounding may add to [-1, 1]


def read_given(path: Path, denoiser: AnyDenoiser) -> Tensor:
    """Read a picture, or an ``.npy`` array (C, *spatial) in the units of the data, as the model sees it; any size.

    The result is float64.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, has other channels or dimensions than the model's samples, or values that such a
            sample cannot have.
    """
    scaling = scaling_of(denoiser)
    if path.suffix.lower() == ".npy":
        stored = _array(path)
    elif path.suffix.lower() in SUFFIXES:
        with path.open("rb") as file:
            stored = torch.from_numpy(decode(file, str(path)).copy())  # Pillow may have kept it from being written to
        if scaling.data_dtype != torch.uint8:
            raise ValueError(
                f"{path} is an 8-bit picture, but the model's samples are not: give an .npy in the units of its data"
            )
    else:
        raise ValueError(f"{path} is neither a picture ({', '.join(sorted(SUFFIXES))}) nor an .npy file")
    # Of a model of latents, 8-bit pictures are encoded, and floating-point arrays are latents.
    shape = scaling.data_shape(denoiser.sample_shape) if stored.dtype == torch.uint8 else denoiser.sample_shape
    if stored.ndim != len(shape) or stored.shape[0] != shape[0]:
        raise ValueError(f"{path} has shape {tuple(stored.shape)}, but the model makes samples of shape {shape}")
    x = scaling.to_model(stored[None])[0].double()
    data = denoiser.facts.get("data")
    if isinstance(data, dict) and tuple(stored.shape) == shape:
        absent = absent_in(data, shape)
        x = x if absent is None else x.masked_fill(absent, 0.0)  # as training saw what no image had
    check_range_of_values(str(path), x, denoiser)
    return x


def check_range_of_values(what: str, x: Tensor, denoiser: AnyDenoiser) -> None:
    """Raise ValueError if ``x`` is not finite, or is beyond [-1, 1] for a model of 8-bit pictures."""
    if not bool(x.isfinite().all()):
        raise ValueError(f"{what} holds values that are not finite")
    low, high = float(x.min()), float(x.max())
    if scaling_of(denoiser).eight_bits and (low < -1 - _BEYOND or high > 1 + _BEYOND):
        raise ValueError(
            f"{what} goes from {low:g} to {high:g}, but the model's samples from -1 to 1: save it as uint8, or as "
            "x / 127.5 - 1"
        )


def read_mask(path: Path, sides: tuple[int, ...]) -> Tensor:
    """Read where a picture is white, or an ``.npy`` of booleans is true, (*sides).

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or of other sides.
    """
    if path.suffix.lower() == ".npy":
        array = read_npy(path, str(path))
        if not isinstance(array, np.ndarray) or array.dtype != np.bool_:
            raise ValueError(f"{path} must hold booleans, true where something is to be painted")
    else:
        with path.open("rb") as file:
            pixels = decode(file, str(path))
        colours = pixels[: 1 if len(pixels) < 3 else 3]  # without alpha
        array = colours.mean(0) >= 128
    if array.shape != sides:
        raise ValueError(f"the mask {path} has sides {array.shape}, but the picture has {sides}")
    return torch.from_numpy(np.ascontiguousarray(array))


@dataclass(frozen=True)
class GivenFields:
    """Conditions that samples are to be made for.

    Attributes:
        values: as the model sees them, float32 ``(K, C, *spatial)``.
        names: of each: of its file, with its place where that holds several.
    """

    values: Tensor
    names: tuple[str, ...]


def fields_asked_for(given: str | os.PathLike[str] | Tensor | npt.NDArray[Any], denoiser: AnyDenoiser) -> GivenFields:
    """Conditions in the form that the denoiser takes.

    Args:
        given: a picture; a ``.npy`` of one condition ``(C, *spatial)`` or of several ``(K, C, *spatial)``; a data
            set, such as a folder of pictures; or values likewise, in the units of the training data's conditions. Of
            a model whose conditions were made of its images, such as ``downsample:4``, also such images, of which
            they are made again.
        denoiser: whose conditions they are.

    Raises:
        OSError: a file cannot be read.
        ValueError: the model takes none, or others: of another number of channels, of another size (they are not
            resampled: at another size they would mean something else to the model), or of another type.
    """
    shape = denoiser.known_labels.field
    if not shape:
        raise ValueError("--condition was given, but the model makes samples without conditions: leave it out")
    stored, names, where = _stored(given, shape, denoiser)
    facts = denoiser.facts.get("data")
    facts = facts if isinstance(facts, dict) else {}
    if made := facts.get("condition_made"):
        condition: Condition = parts.parse("condition", str(made))
        images = scaling_of(denoiser).data_shape(denoiser.sample_shape)
        if tuple(stored.shape[1:]) == tuple(images) != shape:
            stored = torch.from_numpy(condition(stored.numpy(), np.arange(len(stored))))
    if tuple(stored.shape[1:]) != shape:
        raise ValueError(
            f"the condition {where} has shape {tuple(stored.shape[1:])}, but the model was trained with {shape}: "
            "bring it to that size"
        )
    whole, wanted = stored.dtype == torch.uint8, facts.get("condition_dtype", "uint8") == "uint8"
    if whole and not wanted:
        raise ValueError(f"the condition {where} is 8-bit, but the model's are not: give an .npy in their units")
    if not bool(stored.isfinite().all()) and wanted:
        raise ValueError(f"the condition {where} holds values that are not finite")
    return GivenFields(ConditionScaling.of(denoiser).to_model(stored), names)


def _stored(given: Any, shape: tuple[int, ...], denoiser: AnyDenoiser) -> tuple[Tensor, tuple[str, ...], str]:
    """Conditions ``(K, ...)`` as they are stored, what to call each, and all."""
    if not isinstance(given, str | os.PathLike):
        values = torch.as_tensor(given)
        values = values[None] if values.ndim == len(shape) else values
        return values, tuple(map(str, range(len(values)))), "(given)"
    path = Path(given).expanduser()
    where = printable(str(given))
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        with path.open("rb") as file:
            return torch.from_numpy(decode(file, str(path)).copy())[None], (path.name,), where
    if path.is_file() and path.suffix.lower() == ".npy":
        array = _array(path)
        if array.ndim == len(shape):
            return array[None], (path.name,), where
        return array, tuple(f"{path.name}[{place}]" for place in range(len(array))), where
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how arrays are read is told where data are imported
        contents = find(given)
        dataset = open_dataset(given, labels=False)
    names = contents.source.names if isinstance(contents.source, Named) else None
    if names is None:
        return dataset.images(), tuple(f"{dataset.name}[{place}]" for place in range(len(dataset))), where
    return dataset.images(), tuple(map(printable, names)), where


def _array(path: Path) -> Tensor:
    array = read_npy(path, str(path))
    if not isinstance(array, np.ndarray) or (array.dtype != np.uint8 and array.dtype.kind != "f"):
        raise ValueError(f"{path} must hold one array, uint8 or floating point")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def labels_asked_for(text: str, denoiser: AnyDenoiser, *, any_class: bool = False) -> Tensor:
    """The labels in ``text``, in the form that the denoiser takes.

    Args:
        text: for classes their names, numbers and ranges of numbers, such as ``cat,dog`` or ``0-3,7``; for label
            vectors one of them, such as ``0.3,-0.7``; or the name of a ``.npy`` file with class numbers or names
            (K,), or rows (K, label_dim), or, for a model of conditions such as encoded texts, these (K, ...).
        denoiser: whose labels they are.
        any_class: take classes that the training data did not have.

    Returns:
        class numbers (K,), int64, or vectors (K, label_dim), or conditions (K, ...), float32.

    Raises:
        ValueError: the denoiser takes none, or others, or was trained without a class.
        OSError: the file cannot be read.
    """
    known = denoiser.known_labels
    if known.kind == "conditions":
        if not text.endswith(".npy"):
            raise ValueError(f"--labels {text}: the model takes conditions: name a .npy file of them, (K, ...)")
        return _conditions(f"--labels {text}", _read(Path(text)))
    if known.dim == 0:
        raise ValueError("--labels were given, but the model was trained without labels")
    if known.kind == "vectors":
        return _checked_vectors(text, _read(Path(text)) if text.endswith(".npy") else _vector(text), known)
    if text == UNIFORM:
        raise ValueError(f"--labels {UNIFORM} draws a class for each seed, but here labels have to be named")
    places = _places_in(text, known)
    if not any_class:
        _refuse_untrained(text, places, known)
    return torch.from_numpy(np.asarray(known.numbers, dtype=np.int64)[places])


def labels_or_uniform(
    asked: str | Tensor | Sequence[Any] | None, denoiser: AnyDenoiser, *, any_class: bool = False
) -> Tensor | Literal["uniform"] | None:
    """The labels asked for, or how each seed is to draw its own: None as often as in training, or ``uniform``.

    Args:
        asked: a text as for :func:`labels_asked_for`; or class numbers or names (K,), or rows (K, label_dim).
        denoiser: whose labels they are.
        any_class: take classes that the training data did not have.

    Raises:
        ValueError: as :func:`labels_asked_for`; or nothing is asked for that ``any_class`` would change.
        OSError: the file cannot be read.
    """
    text = asked if isinstance(asked, str) else None
    if any_class and (asked is None or text == UNIFORM):
        raise ValueError("--any-class would have no effect without --labels that name classes")
    if asked is None:
        return None
    if text == UNIFORM and denoiser.known_labels.dim and denoiser.known_labels.kind == "classes":
        return "uniform"
    if text is not None:
        return labels_asked_for(text, denoiser, any_class=any_class)
    return _given(asked, denoiser, any_class)


def _given(asked: Tensor | Sequence[Any], denoiser: AnyDenoiser, any_class: bool) -> Tensor:
    """Labels that are not a text, checked in the same way."""
    known = denoiser.known_labels
    if known.kind == "conditions":
        return _conditions("labels", np.asarray(asked))
    if known.dim == 0:
        raise ValueError("--labels were given, but the model was trained without labels")
    values = asked.tolist() if isinstance(asked, Tensor) else list(asked)
    if known.kind == "vectors" or (values and isinstance(values[0], (list, tuple))):
        return _checked_vectors("(given)", np.asarray(values, dtype=np.float64), known)
    places = np.array([known.place(value) for value in values], dtype=np.int64)
    if not any_class:
        _refuse_untrained(", ".join(map(str, values[:5])), places, known)
    return torch.from_numpy(np.asarray(known.numbers, dtype=np.int64)[places])


def draw_labels_from(denoiser: AnyDenoiser, text: str | None, *, any_class: bool = False) -> None:
    """Let seeds draw their labels from others than the training data's, in place.

    Args:
        denoiser: the loaded model.
        text: as for :func:`labels_or_uniform`: classes are drawn as often as they are named; None changes nothing.
        any_class: take classes that the training data did not have.

    Raises:
        ValueError: as :func:`labels_or_uniform`.
        OSError: the file cannot be read.
    """
    labels, known = labels_or_uniform(text, denoiser, any_class=any_class), denoiser.known_labels
    if labels is None:
        return
    if known.kind == "conditions":
        assert isinstance(labels, Tensor)
        _innermost(denoiser).drawn_conditions = labels
        return
    data = dict(denoiser.facts.get("data") or {})
    if not isinstance(labels, Tensor):
        data["class_counts"] = [int(place in known.trained) for place in range(known.dim)]
    elif known.kind == "classes":
        places = torch.tensor([known.place(number) for number in labels.tolist()])
        data["class_counts"] = places.bincount(minlength=known.dim).tolist()
    else:
        data["label_examples"] = labels.tolist()
    denoiser.facts["data"] = data


def _innermost(denoiser: AnyDenoiser) -> DenoiserModule:
    """The denoiser that says what is known of the labels, which others around it repeat."""
    while isinstance(denoiser, Wrapped):
        denoiser = denoiser.denoiser
    assert isinstance(denoiser, DenoiserModule)
    return denoiser


def _conditions(what: str, values: npt.NDArray[Any]) -> Tensor:
    if values.dtype.kind not in "fiu" or values.ndim < 1 or not len(values):
        raise ValueError(f"{what} must be numbers, one or more rows (K, ...), but is {values.dtype} {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{what} holds values that are not finite")
    return torch.from_numpy(np.array(values, dtype=np.float32 if values.dtype.kind == "f" else np.int64))


def _places_in(text: str, known: KnownLabels) -> npt.NDArray[np.int64]:
    if text.endswith(".npy") and text not in known.names:
        return _file_of_classes(text, known)
    if text in known.names:  # it may have commas
        return np.array([known.place(text)])
    places: list[int] = []
    for part in text.split(","):
        places += _part(text, part.strip(), known)
    return np.array(places, dtype=np.int64)


def _part(text: str, part: str, known: KnownLabels) -> list[int]:
    """The classes of one name or number, or of a range of numbers."""
    span = re.fullmatch(r"(\d{1,18})-(\d{1,18})", part, flags=re.ASCII)
    try:
        if span is None or part in known.names:
            return [known.place(part)]
        first, last = int(span[1]), int(span[2])
        if last < first:
            raise ValueError(f"the range {part} runs backwards")
        if last - first > known.dim + max(known.numbers, default=0):
            raise ValueError(f"class {last} is out of range, the model knows {known.listed}")
        return [known.place(number) for number in range(first, last + 1)]
    except ValueError as error:
        raise ValueError(f"--labels {text}: {error}") from None


def _file_of_classes(text: str, known: KnownLabels) -> npt.NDArray[np.int64]:
    values = _read(Path(text))
    if values.ndim != 1 or values.dtype.kind not in "iuU" or not values.size:
        raise ValueError(f"--labels {text} holds {values.dtype} {values.shape}: the model takes integer classes (K,)")
    # There may be many, so nothing as long as they are is made of objects.
    different, inverse = np.unique(values, return_inverse=True)
    places = []
    for value in different:
        try:
            places.append(known.place(str(value) if values.dtype.kind == "U" else int(value)))
        except ValueError as error:
            raise ValueError(f"--labels {text}: {error}") from None
    return np.array(places, dtype=np.int64)[inverse.reshape(-1)]


def _refuse_untrained(text: str, places: npt.NDArray[np.int64], known: KnownLabels) -> None:
    rows = torch.zeros(1, known.dim)
    rows[0, torch.from_numpy(np.unique(places))] = 1
    try:
        known.refuse_untrained(rows)
    except ValueError as error:
        raise ValueError(f"--labels {text}: {error}") from None


def _checked_vectors(text: str, values: npt.NDArray[Any], known: KnownLabels) -> Tensor:
    if values.ndim != 2 or values.shape[1] != known.dim or values.dtype.kind not in "iuf" or not values.size:
        raise ValueError(
            f"--labels {text} holds {values.dtype} {values.shape}: the model takes label vectors (K, "
            f"{known.dim}), from a .npy file or as {known.dim} numbers with commas between them"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"--labels {text} holds values that are not finite")
    return torch.from_numpy(values.astype(np.float32, copy=False))


def _vector(text: str) -> npt.NDArray[np.float64]:
    try:
        return np.array([[float(part) for part in text.split(",")]])
    except ValueError:
        raise ValueError(
            f"--labels {text!r} is not a label vector: write its numbers with commas between them, or a .npy file"
        ) from None


def _read(path: Path) -> npt.NDArray[Any]:
    # Mapped, so that labels for millions of samples need not be in memory.
    array = read_npy(path, f"--labels {path}", mmap_mode="c")
    if not isinstance(array, np.ndarray):
        raise ValueError(f"--labels {path} is not a .npy file")
    return array
