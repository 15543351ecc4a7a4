"""Images and conditions made into pairs: by the names of their files, or by their order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from elucidiff import parts
from elucidiff.data.conditions import Column, Condition, Derived
from elucidiff.data.finding import Progress, find
from elucidiff.data.images import ImageFiles
from elucidiff.data.imported import is_imported
from elucidiff.data.reading import AS_USUAL, Reading
from elucidiff.data.sources import Contents, Images, Named, Rows, Source
from elucidiff.data.standard_sets import NAMES
from elucidiff.data.trees import Archive, Folder
from elucidiff.suggest import suggestion
from elucidiff.untrusted import clipped, printable

GivenCondition = str | os.PathLike[str] | Condition
"""The origin of conditions: a path or name, such as a folder beside that of the images, or a part."""

NONE = "none"
_READ_OF_CONDITIONS = ("pages", "channel_axis", "white")


class Picked:
    """Some images of a source, in an order of their own.

    Args:
        source: the source.
        rows: which of its images.
    """

    def __init__(self, source: Source, rows: Rows) -> None:
        self._source, self._rows = source, rows
        self.shape: tuple[int, ...] = source.shape
        self.dtype: np.dtype[Any] = source.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: Rows) -> Images:
        return self._source.read(self._rows[rows])


def paired(
    contents: Contents,
    source: str | os.PathLike[str],
    condition: GivenCondition | None,
    *,
    reading: Reading = AS_USUAL,
    alike: bool = True,
    progress: Progress | None = None,
) -> Contents:
    """The contents of a data set with a condition for each image.

    Args:
        contents: the images.
        source: where they were found.
        condition: see :func:`elucidiff.data.open`; None or "" for those that an imported set has, if it has any.
        reading: of the images; pages, axes and white hold for the conditions, too.
        alike: see :func:`.find`.
        progress: likewise.

    Raises:
        OSError: nothing is there, or it cannot be read.
        ValueError: images and conditions are no pairs, with the name of the first that has no partner; or the images
            have no such condition.
    """
    if condition is None or condition == "":
        return contents
    if isinstance(condition, str) and condition == NONE:
        return replace(contents, conditions=None)
    chosen = condition_from(condition)
    kept = {name: getattr(reading, name) for name in _READ_OF_CONDITIONS}
    if isinstance(chosen, Column):
        there = replace(AS_USUAL, image_column=chosen.name, labels_from=NONE, **kept)
        found = find(source, alike=alike, reading=there, progress=progress)
        if not _has_columns(source, found.source):
            raise ValueError(
                f"{printable(os.fspath(source))} has no columns: {parts.to_text(chosen)} is for arrays in a .npz "
                "or a folder of .npy, and for Parquet files"
            )
    elif isinstance(chosen, Condition):
        made = Derived(contents.source, chosen)
        if alike:
            chosen.shape(contents.source.shape)  # refuses images of which it cannot be made
        return replace(contents, conditions=made)
    else:
        there = replace(AS_USUAL, labels_from=NONE, **kept)
        found = find(chosen, alike=alike, reading=there, progress=progress)
    if found.broken:
        raise ValueError(found.broken[0])
    fields, notes = matched(contents, found, by_name=not isinstance(chosen, Column))
    return replace(contents, conditions=fields, notes=(*contents.notes, *found.notes, *notes))


def _has_columns(source: str | os.PathLike[str], found: Source) -> bool:
    """Whether a name of an array or column was heeded: not where pictures are files, or the arrays have no names."""
    text = os.fspath(source)
    base = text.rpartition(":")[0] or text
    if text in NAMES or base in NAMES or is_imported(Path(text).expanduser()):
        return False
    return not (isinstance(found, ImageFiles) and isinstance(found.tree, Folder | Archive))


def condition_from(condition: GivenCondition) -> Condition | str | os.PathLike[str]:
    """A condition as it was given: a part, or the path or name of a data set.

    A text that begins with the name of a part, such as ``downsample:4``, is that; ``./downsample`` is a folder.

    Raises:
        ValueError: it is a part with a wrong setting, or it is neither a part nor a data set.
    """
    if not isinstance(condition, str):
        return condition
    known = parts.parts_of("condition")
    if condition.partition(":")[0] in known:
        part: Condition = parts.parse("condition", condition)
        return part
    base = condition.rpartition(":")[0] or condition
    if not any(os.path.exists(os.path.expanduser(name)) or name in NAMES for name in (condition, base)):
        raise ValueError(
            f"the condition {clipped(condition)!r} is neither a data set (there is no such file or folder) nor "
            f"one of {', '.join(known)}; {suggestion(condition[:100], [*known, *NAMES])}"
        )
    return condition


def matched(images: Contents, conditions: Contents, *, by_name: bool = True) -> tuple[Source, tuple[str, ...]]:
    """The conditions in the order of their images, and notes on how they were matched.

    Files are matched by their names without suffixes, from the root on or, where folders differ, by themselves. Where
    either side has no files of its own, as arrays have none, pairs stand at equal places.

    Args:
        images: the images.
        conditions: the conditions, in any order.
        by_name: whether names count where there are some.

    Raises:
        ValueError: an image has no condition, or a name is there twice.
    """
    one, other = images.source, conditions.source
    names, theirs = (_names(one), _names(other)) if by_name else (None, None)
    here, there = printable(images.name), printable(conditions.name)
    if names is None or theirs is None:
        if len(one) != len(other):
            raise ValueError(
                f"pairs do not match: {here} has {len(one):,} images, but {there} {len(other):,} conditions"
            )
        return other, ()
    places, missing = _places(names, theirs, there)
    if missing:
        some = f" ({len(missing):,} of {len(names):,} have none)" if len(missing) > 1 else ""
        raise ValueError(f"pairs do not match: {here}/{printable(missing[0])} has no condition in {there}{some}")
    spare = len(other) - len(places)
    notes = (f"{there}: {spare:,} conditions have no image, and are left out",) if spare else ()
    if not spare and places == list(range(len(places))):
        return other, notes
    rows = np.array(places, dtype=np.int64)
    return (other.select(rows) if isinstance(other, ImageFiles) else Picked(other, rows)), notes


def _names(source: Source) -> Sequence[str] | None:
    """The names of files; that of a later page or frame has its number behind it."""
    if not isinstance(source, Named):
        return None
    seen: Counter[str] = Counter()
    names = []
    for name in source.names:
        names.append(f"{name}#{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def _places(names: Sequence[str], theirs: Sequence[str], there: str) -> tuple[list[int], list[str]]:
    """The place of the condition of each image, and the images that have none."""
    known = _by_key([_whole(name) for name in theirs])
    if known is None:
        counts = Counter(_whole(name) for name in theirs)
        raise ValueError(
            f"pairs do not match: {there} has several files called {printable(counts.most_common(1)[0][0])}"
        )
    found = _found(names, [_whole(name) for name in names], known)
    stems = [_whole(PurePosixPath(name).name) for name in names]
    by_stem = _by_key([_whole(PurePosixPath(name).name) for name in theirs])
    if found[1] and by_stem is not None and len(set(stems)) == len(stems):
        return min(found, _found(names, stems, by_stem), key=lambda each: len(each[1]))
    return found


def _found(names: Sequence[str], keys: Sequence[str], known: Mapping[str, int]) -> tuple[list[int], list[str]]:
    missing = [name for name, key in zip(names, keys, strict=True) if key not in known]
    return [known[key] for key in keys if key in known], missing


def _by_key(keys: Sequence[str]) -> Mapping[str, int] | None:
    """The place of each key; None if one is there twice."""
    return {key: place for place, key in enumerate(keys)} if len(set(keys)) == len(keys) else None


def _whole(name: str) -> str:
    file, _, page = name.partition("#")
    bare = str(PurePosixPath(file).with_suffix(""))
    return f"{bare}#{page}" if page else bare
