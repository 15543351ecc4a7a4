"""Folders and archives of NumPy files: arrays with names, such as ``x_train.npy``, or an image each."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from elucidiff.data.arrays import named_arrays, one_array_an_image, open_npy, open_npz
from elucidiff.data.decoding import SUFFIXES
from elucidiff.data.labels import Labels
from elucidiff.data.naming import IMAGE_NAMES, split_name
from elucidiff.data.npy import Layout, mapped_npy, read_array, read_layout
from elucidiff.data.reading import Reading
from elucidiff.data.separated import open_separated
from elucidiff.data.sources import Contents, Images
from elucidiff.data.trees import Archive, Folder, Tree
from elucidiff.untrusted import open_regular, printable

_LONE = {".npy": open_npy, ".npz": open_npz, ".csv": open_separated, ".tsv": open_separated}


def open_array_tree(name: str, tree: Tree, part: str | None, reading: Reading) -> Contents | None:
    """What a folder or archive without pictures holds in arrays; None if it has pictures, or no arrays.

    Files with names of images and labels, such as ``images.npy`` and ``labels.npy``, are read like a ``.npz`` file
    with these; others are an image each, and of a class if they lie in several sub-folders. A lone file is opened.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, or what the files hold is no data set.
    """
    suffixes = {PurePosixPath(file).suffix.lower() for file in tree.names}
    if suffixes & SUFFIXES:
        return None
    where = printable(str(tree.root))
    arrays = [file for file in tree.names if file.lower().endswith(".npy")]
    if not arrays:
        lone = [file for file in tree.names if PurePosixPath(file).suffix.lower() in _LONE]
        if isinstance(tree, Archive) or len(lone) != 1:
            return None
        path = Path(tree.root) / lone[0]
        return _LONE[path.suffix.lower()](path, part, reading)
    top = [file for file in arrays if "/" not in file]
    if any(split_name(file[:-4])[0] in IMAGE_NAMES for file in top):
        return _named(name, where, tree, top, part, reading)
    if len(arrays) == 1 and isinstance(tree, Folder):
        return open_npy(Path(tree.root) / arrays[0], part, reading)
    chosen, notes = _part(arrays, part, where)
    labels = None if reading.labels_from == "none" else _by_folder(chosen, where)
    found = one_array_an_image(name, where, tree, chosen, reading, labels)
    return Contents(found.name, found.source, found.labels, notes=(*notes, *found.notes))


def _named(name: str, where: str, tree: Tree, files: list[str], part: str | None, reading: Reading) -> Contents:
    if isinstance(tree, Archive):
        return open_npz(Path(tree.root), part, reading)
    paths = {file[:-4]: Path(tree.root) / file for file in files}
    return named_arrays(
        name,
        where,
        {key: _layout(path).shape for key, path in paths.items()},
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


def _part(files: list[str], part: str | None, where: str) -> tuple[list[str], tuple[str, ...]]:
    """The files of a part, where folders or names speak of parts: ``train/3.npy``."""
    parts: dict[str, list[str]] = {}
    for file in files:
        parts.setdefault(split_name(f"{file.split('/')[0]}_x")[1] if "/" in file else "", []).append(file)
    known = [key for key in parts if key]
    if part == "all" or (part is None and (not known or "" in parts)):
        return files, ()
    wanted = part or ("train" if "train" in known else known[0])
    if wanted not in known:
        have = f"its parts are {', '.join(known)}" if known else "give its name alone"
        raise ValueError(f"{where} has no part {wanted!r}: {have}")
    rest = ", ".join(f":{key}" for key in [*(key for key in known if key != wanted), "all"])
    said = f"{where}: the part {wanted} is read; {rest} after the name reads others"
    return parts[wanted], (said,) if part is None and len(known) > 1 else ()


def _by_folder(files: list[str], where: str) -> Labels | None:
    """Classes by the sub-folders at the first level where there are several."""
    folders = [file.split("/")[:-1] for file in files]
    shared = 0
    while all(len(parts) > shared for parts in folders) and len({parts[shared] for parts in folders}) == 1:
        shared += 1
    if any(len(parts) <= shared for parts in folders):
        return None
    return Labels.from_names([printable(parts[shared]) for parts in folders], where)
