"""The contents of a data set, found by its name or path; without torch, which importing has no memory for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from elucidiff.data.arrays import named_arrays, one_array_an_image, open_npy, open_npz
from elucidiff.data.formats import SUFFIXES
from elucidiff.data.images import ImageFiles, NumberFiles, scan
from elucidiff.data.imported import is_imported, open_imported
from elucidiff.data.interpreting import as_images
from elucidiff.data.layout import ARRAY, PARTS, arrays_of, lay_out
from elucidiff.data.naming import IMAGE_NAMES, split_name, without_shared_folders
from elucidiff.data.npy import Layout, mapped_npy, read_array, read_layout
from elucidiff.data.parquet import open_parquet, parquet_files
from elucidiff.data.partial import partial_folder
from elucidiff.data.reading import AS_USUAL, Reading
from elucidiff.data.separated import open_separated
from elucidiff.data.sources import Contents, Images, Source
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
from elucidiff.untrusted import open_regular, printable

_LONE = {".npy": open_npy, ".npz": open_npz, ".csv": open_separated, ".tsv": open_separated}


def open_array_tree(name: str, tree: Tree, part: str | None, reading: Reading) -> Contents | None:
    """The arrays of a folder or archive without pictures, as images; None if it has pictures, or no arrays.

    Files with names of images and labels, such as ``images.npy`` and ``labels.npy``, are read like a ``.npz`` file
    with these, be they side by side or in folders that are parts, as ``train/images.npy``. Others are an image each,
    with labels as pictures have them: see :func:`elucidiff.data.layout.lay_out`. A lone file is opened, and of files
    that are called after parts, such as ``train.npz`` and ``test.npz``, that of the part.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, or what the files hold is no data set.
    """
    suffixes = {PurePosixPath(file).suffix.lower() for file in tree.names}
    if suffixes & SUFFIXES:
        return None
    where = printable(str(tree.root))
    arrays, left_out = arrays_of(tree)
    if not arrays:
        return None if isinstance(tree, Archive) else _of_one_file(tree, where, part, reading)
    keys = _keys(arrays)
    if any(split_name(key)[0] in IMAGE_NAMES for key in keys):
        found = _named(name, where, tree, dict(zip(keys, arrays, strict=True)), part, reading)
        return replace(found, notes=(*filter(None, [left_out]), *found.notes))
    if len(arrays) == 1 and isinstance(tree, Folder):
        return open_npy(Path(tree.root) / arrays[0], part, reading)
    layout = lay_out(tree, part, reading, arrays=True)
    found = one_array_an_image(name, where, tree, layout.names, reading, layout.labels)
    called = name if part in (None, "train") else f"{name}:{part}"
    return replace(found, name=called, notes=(*layout.notes, *found.notes))


def _keys(files: list[str]) -> list[str]:
    """The names of arrays, without the folders that all of them share; none where folders mean anything but parts."""
    keys = without_shared_folders([file[: -len(ARRAY)] for file in files])
    speak = all("/" not in key or (key.count("/") == 1 and split_name(key)[1]) for key in keys)
    return keys if speak else []


def _named(name: str, where: str, tree: Tree, files: dict[str, str], part: str | None, reading: Reading) -> Contents:
    if isinstance(tree, Archive):
        return open_npz(Path(tree.root), part, reading)
    paths = {key: Path(tree.root) / file for key, file in files.items()}
    return named_arrays(
        name,
        where,
        {key: _layout(path) for key, path in paths.items()},
        lambda key: mapped_npy(paths[key]),
        lambda key: _load(paths[key]),
        part,
        reading,
    )


def _layout(path: Path) -> Layout:
    with open_regular(path) as file:
        return read_layout(file, printable(str(path)), os.fstat(file.fileno()).st_size)


def _load(path: Path) -> Images:
    with open_regular(path) as file:
        return read_array(file, printable(str(path)), os.fstat(file.fileno()).st_size)


def _of_one_file(tree: Tree, where: str, part: str | None, reading: Reading) -> Contents | None:
    """The only archive of arrays or table in a folder, or that of the part; None if there is none, or several."""
    notes: tuple[str, ...] = ()
    lone = [file for file in tree.names if PurePosixPath(file).suffix.lower() in _LONE]
    parts = {split_name(f"x_{PurePosixPath(file).stem}")[1]: file for file in lone}
    if len(lone) == 1:
        chosen, inner = lone[0], part
    elif len(lone) > 1 and len(parts) == len(lone) and "" not in parts and part != "all":
        wanted = part or ("train" if "train" in parts else next(iter(parts)))
        if wanted not in parts:
            raise ValueError(f"{where} has no part {part!r}: its parts are {', '.join(parts)}")
        chosen, inner = parts[wanted], None
        rest = ", ".join(f":{key}" for key in parts if key != wanted)
        said = f"{where}: the part {wanted} ({chosen}) is read; {rest} after the name reads others"
        if part is None:
            notes = (said,)
    else:
        return None
    path = Path(tree.root) / chosen
    found = _LONE[path.suffix.lower()](path, inner, reading)
    return replace(found, notes=(*notes, *found.notes))


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
    # Notes quote names of files, arrays and columns, which may hold commands to a terminal.
    contents = replace(contents, notes=tuple(map(printable, contents.notes)))
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
    if alike or found.numbers is not None:
        found.files.check_alike()
    labels = None if contents.labels is None else contents.labels.select(found.rows)
    notes = (*contents.notes, *found.notes)
    read: Source = found.files
    if found.numbers is not None:
        where = printable(str(source.tree.root))
        read, more = as_images(NumberFiles(found.files, found.numbers), where, replace(reading, channel_axis="first"))
        notes += more
    return replace(contents, source=read, labels=labels, notes=notes, broken=found.broken)


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
