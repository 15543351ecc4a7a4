"""Find out what a name or path holds. Nothing here needs PyTorch, so importing data takes little memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from elucidiff.data.arrays import open_npy, open_npz
from elucidiff.data.images import ImageFiles, image_names, labels_of
from elucidiff.data.imported import is_imported, open_imported
from elucidiff.data.named import DOWNLOADABLE, NAMES, PARTS, open_digits, open_downloadable, open_idx_folder
from elucidiff.data.parquet import open_parquet, parquet_files
from elucidiff.data.partial import partial_folder
from elucidiff.data.reading import AS_USUAL, Reading
from elucidiff.data.sources import Contents
from elucidiff.data.trees import Archive, Folder, Tree
from elucidiff.suggest import suggestion


def find(source: str | os.PathLike[str], *, alike: bool = True, reading: Reading = AS_USUAL) -> Contents:
    """The contents of a data set, as :func:`elucidiff.data.open` describes them.

    Args:
        source: name or path.
        alike: check that the images of a folder or archive are alike in size and channels.
        reading: which reading to take where several are possible.

    Raises:
        OSError: nothing is there, or it cannot be read.
        ValueError: it is damaged, or not a data set; the message names the file.
    """
    text = os.fspath(source)
    if not text:
        raise ValueError("the name of the data set is empty")
    name, colon, part = text.rpartition(":")
    if not colon or part not in PARTS or Path(text).exists():
        name, part = text, ""
    if isinstance(source, str):
        if name == "digits":
            return open_digits(part or None)
        if name in DOWNLOADABLE:
            return open_downloadable(name, part or None)
    path = Path(name).expanduser()
    if path.is_dir():
        return _open_folder(path, part or None, alike)
    if not path.exists():
        raise _not_found(text)
    if path.suffix.lower() in _FILES:
        return _FILES[path.suffix.lower()](path, part or None, reading)
    if part:
        raise ValueError(f"{name} has no part {part!r}: give its name alone")
    if path.suffix.lower() == ".zip":
        return _open_tree(path.stem, Archive(path), alike)
    if path.suffix.lower() == ".parquet":
        return _checked(open_parquet(path, [path]), alike)
    raise ValueError(f"{path} is not a data set: expected a folder, .zip, .npy, .npz or .parquet")


def _open_folder(path: Path, part: str | None, alike: bool) -> Contents:
    idx = open_idx_folder(path, part)
    if idx is not None:
        return idx
    if is_imported(path):
        if part is not None:
            raise ValueError(f"{path} has no part {part!r}: give its name alone")
        return open_imported(path)
    folder = Folder(path)
    files = parquet_files(folder, part)
    if files:
        return _checked(open_parquet(path.resolve(), files), alike)
    if part is not None:
        raise ValueError(f"{path} has no part {part!r}: give its name alone")
    return _open_tree(path.resolve().name, folder, alike)


def _open_tree(name: str, tree: Tree, alike: bool) -> Contents:
    names = image_names(tree)
    return _checked(Contents(name, ImageFiles(tree, names), labels_of(tree, names)), alike)


def _checked(contents: Contents, alike: bool) -> Contents:
    if alike and isinstance(contents.source, ImageFiles):
        contents.source.check_alike()
    return contents


def _not_found(text: str) -> FileNotFoundError:
    if partial_folder(Path(text).expanduser()).is_dir():
        return FileNotFoundError(f"{text} is not finished: import it again, and the import goes on where it stopped")
    looks_like_path = os.sep in text or Path(text).suffix
    hint = "" if looks_like_path else f", nor a set of that name; {suggestion(text, NAMES)}"
    return FileNotFoundError(f"no data set {text!r}: there is no such file or folder{hint}")


_FILES: dict[str, Callable[[Path, str | None, Reading], Contents]] = {".npy": open_npy, ".npz": open_npz}
