"""The meaning of the layout of a folder or archive of pictures: which files, which part of them, and whose labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from elucidiff.data.formats import FORMATS, HEAD_BYTES, SUFFIXES, is_picture
from elucidiff.data.label_files import is_missing, labels_from_values, read_listed
from elucidiff.data.labels import Labels
from elucidiff.data.reading import Reading
from elucidiff.data.trees import Tree, head_of
from elucidiff.untrusted import printable

LABEL_FILES = ("dataset.json", "metadata.jsonl", "metadata.csv", "labels.csv", "labels.jsonl")
"""Files whose labels are used, the first that is there."""

ARRAY = ".npy"

PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "all": "all",
}
"""Names of the parts of a data set, as they follow a colon and as folders are called, in any case."""

_NAMED = 5
_FEW = 0.5
_STORAGE = re.compile(r"\d{4,}")


@dataclass
class Layout:
    """Pictures that make up a data set.

    Attributes:
        names: their files, sorted.
        labels: one for each, or None.
        notes: what was left out, and which of several readings was taken.
        kind: what to call one of the files in a message.
        elsewhere: the folders of the pictures of other parts, without the level of the parts.
    """

    names: list[str]
    labels: Labels | None = None
    notes: list[str] = field(default_factory=list)
    kind: str = "picture"
    elsewhere: list[list[str]] = field(default_factory=list)

    def counted(self, count: int) -> str:
        """So many of the files, in words."""
        return f"{count:,} {self.kind}{'s' if count != 1 else ''}"


def pictures_of(tree: Tree) -> tuple[list[str], str]:
    """The pictures of a tree, and what to say of the other files.

    A file is taken for a picture by its name, so that a damaged one is noticed, or else by its content.

    Raises:
        ValueError: there are none.
    """
    names, others = [], Counter(tree.left_out)
    for name in tree.names:
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if suffix in SUFFIXES or is_picture(head_of(tree, name, HEAD_BYTES)):
            names.append(name)
        elif path.name.lower() not in LABEL_FILES:
            others[printable(suffix) or "without a suffix"] += 1
    if not names:
        found = f"; there are {_counted(others)}" if others else ""
        raise ValueError(f"{printable(str(tree.root))} holds no images ({', '.join(FORMATS)}){found}")
    return names, f"left out: {_counted(others)}, which are no pictures that can be read" if others else ""


def arrays_of(tree: Tree) -> tuple[list[str], str]:
    """The ``.npy`` files of a tree, and what to say of the other files."""
    names, others = [], Counter(tree.left_out)
    for name in tree.names:
        path = PurePosixPath(name)
        if name.lower().endswith(ARRAY):
            names.append(name)
        elif path.name.lower() not in LABEL_FILES:
            others[printable(path.suffix.lower()) or "without a suffix"] += 1
    return names, f"left out: {_counted(others)}, beside the arrays" if others else ""


def lay_out(tree: Tree, part: str | None, reading: Reading, *, arrays: bool = False) -> Layout:
    """The pictures of a part of a tree, with their labels.

    Folders called train, val and test are parts. Labels come from a file of :data:`LABEL_FILES` where there is one
    that lies above all of the pictures; else the classes are the sub-folders at the first level with several of them.

    Args:
        tree: the folder or archive.
        part: a key of :data:`PARTS`; None for the one to train with.
        reading: which reading to take where several are possible.
        arrays: whether the images are in ``.npy`` files, one in each.

    Raises:
        ValueError: there are no pictures, no such part, or the labels are damaged or do not fit the pictures.
    """
    every, note = arrays_of(tree) if arrays else pictures_of(tree)
    layout = Layout(every, notes=[note] if note else [], kind="array" if arrays else "picture")
    folders = [name.split("/")[:-1] for name in every]
    if reading.split_folders == "parts" or part is not None:
        folders = _take_part(layout, folders, part, str(tree.root))
    _take_labels(layout, folders, tree, every, reading)
    return layout


def _take_part(layout: Layout, folders: list[list[str]], part: str | None, root: str) -> list[list[str]]:
    """Reduce the layout to a part, if it has parts; the folders of what is left, without the level of the parts."""
    level, rows = _level_of_parts(folders)
    wanted = None if part is None else PARTS[part]
    if level is None:
        if part not in (None, "all"):
            raise ValueError(f"{printable(root)} has no part {part!r}: give its name alone")
        return folders
    sizes = Counter(PARTS[folders[row][level].lower()] for row in rows)
    known = ", ".join(f"{name} ({sizes[name]:,})" for name in _ORDER if name in sizes)
    if wanted not in (None, "all") and wanted not in sizes:
        raise ValueError(f"{printable(root)} has no part {part!r}; its parts are {known}")
    taken = wanted or ("train" if "train" in sizes else "all")
    kept = [row for row in rows if taken in ("all", PARTS[folders[row][level].lower()])]
    if len(sizes) > 1 and part is None:
        other = next(name for name in reversed(_ORDER) if name in sizes and name != taken)
        layout.notes.append(
            f"its folders look like a split, with the parts {known}: {taken} was taken; :{other} or :all after the"
            " name takes others, and --split-folders classes takes the folders for classes"
        )
    if outside := len(folders) - len(rows):
        layout.notes.append(
            f"left out: {layout.counted(outside)} beside the folders of the parts, as in none of them"
        )
    layout.names = [layout.names[row] for row in kept]
    others = set(rows).difference(kept)
    layout.elsewhere = [folders[row][:level] + folders[row][level + 1 :] for row in sorted(others)]
    return [folders[row][:level] + folders[row][level + 1 :] for row in kept]


_ORDER = ("train", "val", "test")


def _level_of_parts(folders: list[list[str]]) -> tuple[int | None, list[int]]:
    """The level of folders whose names are parts, and the rows that lie in one of them."""
    level, inside = _first_branching(folders)
    if level is None:
        # A single folder may be a part, too.
        deepest = min(map(len, folders))
        single = next((at for at in range(deepest) if folders[0][at].lower() in _PART_FOLDERS), None)
        shared = single is not None and len({parts[single] for parts in folders}) == 1
        return (single, list(range(len(folders)))) if shared else (None, [])
    for at in range(level):
        if folders[inside[0]][at].lower() in _PART_FOLDERS:
            return at, inside
    here = {folders[row][level].lower() for row in inside}
    parts = {PARTS[name] for name in here if name in _PART_FOLDERS}
    if len(parts) > 1 and ("train" in parts or here <= _PART_FOLDERS):
        return level, [row for row in inside if folders[row][level].lower() in _PART_FOLDERS]
    # As in CLASS/train and CLASS/test.
    for below in range(level + 1, max(len(folders[row]) for row in inside)):
        rows = [row for row in inside if len(folders[row]) > below]
        names = {folders[row][below].lower() for row in rows}
        if names <= _PART_FOLDERS and len({PARTS[name] for name in names}) > 1:
            return below, rows
    return None, []


_PART_FOLDERS = frozenset(PARTS) - {"all"}


def _first_branching(folders: list[list[str]]) -> tuple[int | None, list[int]]:
    """The first level with several folders, and the rows that lie in one of them; None if there is no such level."""
    rows = list(range(len(folders)))
    level = 0
    while True:
        rows = [row for row in rows if len(folders[row]) > level]
        names = {folders[row][level] for row in rows}
        if len(names) > 1:
            return level, rows
        if not names:
            return None, []
        level += 1


def _take_labels(
    layout: Layout, folders: list[list[str]], tree: Tree, every: Sequence[str], reading: Reading
) -> None:
    wanted = reading.labels_from
    if wanted == "none":
        return
    if wanted != "folders":
        files = _label_files(layout, tree, wanted)
        if files is not None:
            _labels_from_files(layout, files, tree, every, reading, folders)
            return
        if wanted is not None:
            raise ValueError(
                f"{printable(str(tree.root))} holds no {printable(wanted)} above all of its {layout.kind}s"
            )
    _labels_from_folders(layout, folders, tree, forced=wanted == "folders")


def _label_files(layout: Layout, tree: Tree, wanted: str | None) -> list[str] | None:
    """The label file nearest above each picture; None if some picture has none of the same kind."""
    there: dict[str, dict[str, str]] = {}
    for file in tree.names:
        folder, _, base = file.rpartition("/")
        if base.lower() in LABEL_FILES or base == wanted:
            there.setdefault(base.lower(), {})[folder] = file
    covering = {}
    for kind in LABEL_FILES if wanted is None else (wanted.lower(),):
        nearest = [_nearest(name, there.get(kind, {})) for name in layout.names]
        if all(file is not None for file in nearest):
            covering[kind] = [file for file in nearest if file is not None]
    if len(covering) > 1:
        first, *others = covering
        layout.notes.append(
            f"labels are those of {first}, not of {' or '.join(others)}; --labels-from {others[0]} takes the others"
        )
    return next(iter(covering.values()), None)


def _nearest(name: str, files: dict[str, str]) -> str | None:
    folder = name
    while folder:
        folder = folder.rpartition("/")[0]
        if folder in files:
            return files[folder]
    return None


def _labels_from_files(
    layout: Layout, files: list[str], tree: Tree, every: Sequence[str], reading: Reading, folders: list[list[str]]
) -> None:
    values: list[object] = [None] * len(files)
    names: tuple[str, ...] = ()
    elsewhere: list[object] = []
    used = list(dict.fromkeys(files))
    for file in used:
        rows = [row for row, other in enumerate(files) if other == file]
        listed = read_listed(tree, file, [layout.names[row] for row in rows], every, reading.label_column)
        for row, value in zip(rows, listed.values, strict=True):
            values[row] = value
        if names not in ((), listed.names):
            raise ValueError(f"{tree.where(file)} has other classes than {tree.where(used[0])}")
        names = listed.names
        layout.notes += listed.notes
        elsewhere += listed.elsewhere
    labelled = [row for row, value in enumerate(values) if not is_missing(value)]
    where = tree.where(used[0])
    if not labelled:
        if not used[0].endswith(".json"):  # there, null means just that
            layout.notes.append(f"{where} gives no {layout.kind} a label, so the data have none")
        return
    if len(labelled) < len(files):
        layout.notes.append(
            f"left out: {layout.counted(len(files) - len(labelled))} without a label in {where};"
            " --labels-from none takes all of them, without labels"
        )
        layout.names = [layout.names[row] for row in labelled]
    known = [values[row] for row in labelled]
    # A class has the same number in every part, even if a part has no picture of it.
    more = {value for value in elsewhere if type(value) is type(known[0]) and isinstance(value, int | str)}
    labels = labels_from_values([*known, *more], where, names)
    layout.labels = labels.select(np.arange(len(known)))
    level, inside = _first_branching(folders)
    classes = [] if level is None else sorted({folders[row][level] for row in inside})
    if classes and not all(name.isdigit() for name in classes):
        layout.notes.append(
            f"labels are those of {where}, not the {_folders(classes)}; --labels-from folders takes these"
        )


def _labels_from_folders(layout: Layout, folders: list[list[str]], tree: Tree, *, forced: bool) -> None:
    # A class that is in this part alone, or is all that this part has, still is one of several.
    level, inside = _first_branching([*folders, *layout.elsewhere])
    inside = [row for row in inside if row < len(folders)]
    if level is None or not inside:
        if forced:
            raise ValueError(f"{printable(str(tree.root))} has no sub-folders that could be classes")
        return
    loose = len(folders) - len(inside)
    classes = sorted({folders[row][level] for row in inside})
    if loose and not forced and loose >= _FEW * len(folders):
        layout.notes.append(
            f"no labels: {layout.counted(loose)} of {len(folders):,} lie beside the {_folders(classes)}, which"
            " therefore were not taken for classes; --labels-from folders takes them, and leaves the others out"
        )
        return
    if loose:
        first = next(name for name, parts in zip(layout.names, folders, strict=True) if len(parts) <= level)
        layout.notes.append(
            f"left out: {layout.counted(loose)} beside the {_folders(classes)}, which are the classes"
            f" ({tree.where(first)}); --labels-from none takes all {layout.kind}s, without labels"
        )
        layout.names = [layout.names[row] for row in inside]
    # A class has the same number in every part, even if a part has no picture of it.
    names = [printable(folders[row][level]) for row in inside]
    names += sorted({printable(parts[level]) for parts in layout.elsewhere if len(parts) > level})
    layout.labels = Labels.from_names(names, str(tree.root)).select(np.arange(len(inside)))
    words = {word for name in classes if name.lower() not in PARTS for word in re.split(r"[^a-z]+", name.lower())}
    parts = {PARTS[word] for word in words & _PART_FOLDERS}
    if "train" in parts and len(parts) > 1:
        layout.notes.append(
            f"the {_folders(classes)} were taken for classes, though they look like a split: if they are one, call"
            " them train, val and test"
        )
    if all(_STORAGE.fullmatch(name) for name in classes):
        layout.notes.append(
            f"the {_folders(classes)} were taken for classes; if they only divide the files up, --labels-from none"
            " is right"
        )


def _folders(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:_NAMED])
    return f"{len(names):,} folders {shown}{', ...' if len(names) > _NAMED else ''}"


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
