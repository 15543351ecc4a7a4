"""Folders and archives of NumPy files: arrays with names, such as ``x_train.npy``, or an image each."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

from elucidiff.data.arrays import named_arrays, one_array_an_image, open_npy, open_npz
from elucidiff.data.formats import SUFFIXES
from elucidiff.data.layout import ARRAY, arrays_of, lay_out
from elucidiff.data.naming import IMAGE_NAMES, split_name, without_shared_folders
from elucidiff.data.npy import Layout, mapped_npy, read_array, read_layout
from elucidiff.data.reading import Reading
from elucidiff.data.separated import open_separated
from elucidiff.data.sources import Contents, Images
from elucidiff.data.trees import Archive, Folder, Tree
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
