"""Open a data set by its name or path."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from elucidiff.data.array_folders import open_array_tree
from elucidiff.data.arrays import open_npy, open_npz
from elucidiff.data.dataset import Dataset
from elucidiff.data.images import ImageFiles, scan
from elucidiff.data.imported import is_imported, open_imported
from elucidiff.data.layout import PARTS, lay_out
from elucidiff.data.parquet import open_parquet, parquet_files
from elucidiff.data.partial import partial_folder
from elucidiff.data.reading import AS_USUAL, Reading
from elucidiff.data.separated import open_separated
from elucidiff.data.sources import Contents
from elucidiff.data.standard_sets import (
    DOWNLOADABLE,
    NAMES,
    is_idx,
    open_digits,
    open_downloadable,
    open_idx,
    open_idx_folder,
)
from elucidiff.data.trees import Archive, Folder, Tree
from elucidiff.suggest import suggestion
from elucidiff.untrusted import printable

Progress = Callable[[str, int, int], None]


def find(
    source: str | os.PathLike[str],
    *,
    alike: bool = True,
    reading: Reading = AS_USUAL,
    progress: Progress | None = None,
) -> Contents:
    """The contents of a data set, as :func:`elucidiff.data.open` describes them.

    Args:
        source: name or path.
        alike: check that the images of a folder or archive are sound, as far as their headers tell, and alike in size
            and channels. If not, those that are broken are listed.
        reading: which reading to take where several are possible.
        progress: called as ``progress("checking", done, total)`` while the headers of picture files are read.

    Raises:
        OSError: nothing is there, or it cannot be read.
        ValueError: it is damaged, or not a data set; the message names the file.
    """
    contents = _found(source, alike, reading, progress)
    # A name in other bytes than UTF-8 could be neither printed nor written.
    return contents if contents.name.isprintable() else replace(contents, name=printable(contents.name))


def _found(source: str | os.PathLike[str], alike: bool, reading: Reading, progress: Progress | None) -> Contents:
    text = os.fspath(source)
    if not text:
        raise ValueError("the name of the data set is empty")
    name, colon, part = text.rpartition(":")
    if not colon or part.lower() not in PARTS or os.path.exists(text):
        name, part = text, ""
    part = PARTS.get(part.lower(), "")
    if isinstance(source, str):
        if name == "digits":
            return open_digits(part or None)
        if name in DOWNLOADABLE:
            return open_downloadable(name, part or None)
    path = Path(name).expanduser()
    if path.is_dir():
        return _scanned(_open_folder(path, part or None, reading), alike, reading, progress)
    if not path.exists():
        raise _not_found(text)
    if not path.is_file():
        raise ValueError(f"{printable(name)} is neither a regular file nor a folder, and is not read")
    if path.suffix.lower() in _FILES:
        return _FILES[path.suffix.lower()](path, part or None, reading)
    if path.suffix.lower() == ".zip":
        return _scanned(_open_tree(path.stem, Archive(path), part or None, reading), alike, reading, progress)
    if is_idx(path):
        return open_idx(path, part or None, reading)
    if part:
        raise ValueError(f"{printable(name)} has no part {part!r}: give its name alone")
    if path.suffix.lower() == ".parquet":
        return _scanned(open_parquet(path, [path], reading), alike, reading, progress)
    raise ValueError(
        f"{printable(str(path))} is not a data set: expected a folder, .zip, .npy, .npz, .parquet, .csv or idx file"
    )


def _open_folder(path: Path, part: str | None, reading: Reading) -> Contents:
    idx = open_idx_folder(path, part, reading)
    if idx is not None:
        return idx
    if is_imported(path):
        if part is not None:
            raise ValueError(f"{path} has no part {part!r}: give its name alone")
        return open_imported(path)
    folder = Folder(path)
    files = parquet_files(folder, part)
    if files:
        return open_parquet(path.resolve(), files, reading)
    return _open_tree(path.resolve().name, folder, part, reading)


def _open_tree(name: str, tree: Tree, part: str | None, reading: Reading) -> Contents:
    arrays = open_array_tree(name, tree, part, reading)
    if arrays is not None:
        return arrays
    layout = lay_out(tree, part, reading)
    if part not in (None, "train"):
        name = f"{name}:{part}"
    return Contents(name, ImageFiles(tree, layout.names), layout.labels, notes=tuple(layout.notes))


def _scanned(contents: Contents, alike: bool, reading: Reading, progress: Progress | None) -> Contents:
    """The contents, once the headers of picture files are read."""
    source = contents.source
    if not isinstance(source, ImageFiles):
        return contents
    found = scan(source.tree, source.names, reading, progress)
    if alike and found.broken:
        raise ValueError(found.broken[0])
    if not len(found.files):
        raise ValueError(f"{printable(contents.name)} holds no image that is not broken: {found.broken[0]}")
    if alike:
        found.files.check_alike()
    labels = None if contents.labels is None else contents.labels.select(found.rows)
    notes = (*contents.notes, *found.notes)
    return replace(contents, source=found.files, labels=labels, notes=notes, broken=found.broken)


def _not_found(text: str) -> FileNotFoundError:
    if partial_folder(Path(text).expanduser()).is_dir():
        return FileNotFoundError(f"{text} is not finished: import it again, and the import goes on where it stopped")
    looks_like_path = os.sep in text or Path(text).suffix
    hint = "" if looks_like_path else f", nor a set of that name; {suggestion(text, NAMES)}"
    return FileNotFoundError(f"no data set {text!r}: there is no such file or folder{hint}")


_FILES: dict[str, Callable[[Path, str | None, Reading], Contents]] = {
    ".npy": open_npy,
    ".npz": open_npz,
    ".csv": open_separated,
    ".tsv": open_separated,
}


def open(
    source: str | os.PathLike[str],
    *,
    labels: bool = True,
    max_size: int | None = None,
    random_seed: int = 0,
    xflip: bool = False,
    reading: Reading | None = None,
) -> Dataset:
    """Open a data set, and check all of it that can be checked without decoding every image.

    ``source`` is one of

    * a name: ``digits`` (in scikit-learn), ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``. The latter
      four are looked for in ``$ELUCIDIFF_DATA`` (else ``~/.cache/elucidiff``) and fetched to there if they are
      missing. Their training part is opened; ``:test`` or ``:all`` after the name chooses another;
    * a folder or ``.zip`` of images (PNG, JPEG, WebP, GIF, BMP, PPM, TIFF, AVIF, JPEG 2000), all of one size, in the
      order of their names, with labels from ``dataset.json`` (as NVlabs' dataset_tool writes it), ``metadata.jsonl``,
      ``metadata.csv`` or ``labels.csv``, or classes from sub-folders. Folders called train, val and test are parts:
      the first is opened, and ``:test``, ``:val`` or ``:all`` after the name chooses another;
    * a folder with idx files, as MNIST comes; ``:test`` and ``:all`` work here too;
    * a folder that :func:`elucidiff.data.import_dataset` wrote;
    * a ``.npy`` file, or a ``.npz`` file or folder of ``.npy`` files with arrays of usual names: ``images``, ``x``,
      ``data``, ``arr_0`` ..., and perhaps ``labels``, ``y``, ``target``, ``arr_1`` ...; with ``x_train``, ``x_test``
      and the like, ``:train``, ``:val``, ``:test`` or ``:all`` after the path choose a part. Images are
      ``(N, C, *spatial)``, uint8 or floating point; the latter keep their type and values. Where the lengths of the
      axes suggest it, channels are taken to be last, ``(N, H, W, C)``, or missing, ``(N, H, W)``; truth values are
      black and white, and whole numbers of wider types levels of as many bits as are in use. Labels are classes,
      integers ``(N,)`` of any values, which become the classes' names unless they are 0 to K - 1, or text; or
      vectors, floating point ``(N, label_dim)``; what might be either is refused;
    * a folder or ``.zip`` of ``.npy`` files with an image each;
    * a ``.parquet`` file or a folder of them, with columns ``image`` and perhaps ``label``, as Hugging Face's
      ``datasets`` writes them, or with lists of pixels (import them before training, for reading them at random is
      slow);
    * a ``.csv`` file with a picture a row and a column a pixel, and perhaps a column ``label``;
    * an idx file by itself, with the labels beside it.

    Nothing is unpickled. A relative path that is also a name must begin with ``./``.

    Args:
        source: name or path.
        labels: False to leave the labels out.
        max_size: keep at most this many images, drawn at random.
        random_seed: of that draw.
        xflip: follow the images by all of them mirrored left-right.
        reading: which reading to take where several are possible.

    What was left out, and which of several readings was taken, is warned of (:class:`UserWarning`).

    Raises:
        OSError: nothing is there, or it cannot be read.
        ValueError: it is damaged, or not a data set; the message names the file.

    >>> import elucidiff as ed
    >>> digits = ed.data.open("digits")
    >>> len(digits), digits.shape, digits.label_dim
    (1797, (1, 8, 8), 10)
    """
    if max_size is not None and max_size < 1:
        raise ValueError(f"max_size is {max_size}, but must be at least 1")
    if not 0 <= random_seed < 2**32:
        raise ValueError(f"random_seed is {random_seed}, but must be in 0..{2**32 - 1}")
    reading = reading or AS_USUAL
    contents = find(source, reading=reading if labels else replace(reading, labels_from="none"))
    for note in contents.notes:
        warnings.warn(note, stacklevel=2)
    dataset = Dataset(contents.name, contents.source, contents.labels, expected=contents.sha256, notes=contents.notes)
    if not labels:
        dataset = dataset.without_labels()
    if max_size is not None and max_size < len(dataset):
        # The draw of the reference implementation; NumPy keeps this stream the same for ever.
        order = np.arange(len(dataset))
        np.random.RandomState(random_seed).shuffle(order)
        dataset = dataset.select(np.sort(order[:max_size]))
    return dataset.with_mirror_images() if xflip else dataset
