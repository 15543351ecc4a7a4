"""Turn data as people have them into a folder that training reads fast."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import elucidiff
from elucidiff import parts
from elucidiff.data.conditions import described
from elucidiff.data.finding import find
from elucidiff.data.fitting import Conversion, Crop
from elucidiff.data.images import ImageFiles, describe
from elucidiff.data.imported import CONDITIONS, FORMAT, STORED, VERSION, condition_of, is_imported, read_meta
from elucidiff.data.pairing import GivenCondition, paired
from elucidiff.data.partial import Item, PartialImport
from elucidiff.data.reading import AS_USUAL, Reading
from elucidiff.data.sources import Contents, Images, Source, rows_at_once

_BYTES_AT_ONCE = 1 << 20


def file_digest(source: ImageFiles, row: int) -> bytes:
    """SHA-256 of the bytes of an image's file, which are read and not decoded; of several pages, with the first."""
    digest = hashlib.sha256()
    if source.is_later_page(row):
        return digest.digest()
    try:
        with source.tree.open(source.names[row]) as file:
            while block := file.read(_BYTES_AT_ONCE):
                digest.update(block)
    except Exception:  # archives raise many types for damage
        # A broken image that is left out: that it cannot be read is what is known of it.
        digest.update(b"unreadable")
    return digest.digest()


def array_digest(image: Images) -> bytes:
    """SHA-256 of the values of an image, little-endian and in the order of its axes."""
    return hashlib.sha256(np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("<")).data).digest()


Given = TypeVar("Given")
Made = TypeVar("Made")


def in_order(work: Callable[[Given], Made], items: Iterable[Given], workers: int, ahead: int) -> Iterator[Made]:
    """``work(item)`` for each item, in the order of the items.

    Threads serve well for images: Pillow decodes and resizes without holding Python's lock. At most ``ahead`` results
    wait for their turn. An error is raised in the place of its item's result, and ends the work.
    """
    if workers == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


Progress = Callable[[str, int, int], None]

_CHUNK = 64
_CHUNK_BYTES = 1 << 22
# Below this, most of the time goes into Python, which threads only slow down.
_PIXELS_WORTH_A_THREAD = 128 * 128
# For images that are being decoded and converted, and for those that wait to be written; large ones count.
_MEMORY = 1 << 28
_BYTES_A_PIXEL = 12


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        folder: where it is; ``elucidiff.data.open`` opens it.
        count: number of images.
        shape: of an image, ``(C, *spatial)``.
        label_dim: of the labels, 0 without.
        sha256: of all images and labels, as :meth:`elucidiff.data.Dataset.verify` computes it.
        skipped: broken images that were left out, each with what was wrong.
        enlarged: number of images that had fewer pixels than the result, which therefore is blurred.
        notes: how the data were read, where they could have been read in another way.
        condition_shape: of a condition, ``(C, *spatial)``; empty without.

    >>> import elucidiff as ed
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = ed.data.import_dataset("digits", f"{folder}/digits")
    ...
    >>> made.count, made.shape, made.label_dim, made.skipped
    (1797, (1, 8, 8), 10, ())
    """

    folder: Path
    count: int
    shape: tuple[int, ...]
    label_dim: int
    sha256: str
    skipped: tuple[str, ...]
    enlarged: int
    notes: tuple[str, ...] = ()
    condition_shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, folder: Path, meta: Mapping[str, Any]) -> Imported:
        """The import in ``folder``, whose ``meta.json`` says ``meta``."""
        return cls(
            folder=folder,
            count=meta["count"],
            shape=tuple(meta["shape"]),
            label_dim=meta["label_dim"],
            sha256=meta["sha256"],
            skipped=tuple(meta["skipped"]),
            enlarged=meta["enlarged"],
            notes=tuple(meta["notes"]),
            condition_shape=_made_shape(meta),
        )


def import_dataset(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    resize: int | tuple[int, int] | None = None,
    crop: Crop = "centre",
    channels: int | None = None,
    skip_broken: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    reading: Reading | None = None,
    condition: GivenCondition | None = None,
    condition_resize: int | tuple[int, int] | None = None,
) -> Imported:
    """Import a data set into a folder that is read by memory mapping.

    The folder holds ``images.npy`` (N, C, *spatial), ``labels.npy`` if there are labels, and ``meta.json`` with
    checksum and provenance, and appears whole. Until then the work is kept beside it in ``OUT.partial``; an import
    that was stopped or killed goes on from there when it is called again, and one that is complete already is left
    alone. In both cases the source is read again, but not decoded, and compared with the checksum of what was
    imported: if it has changed, by whatever means, the folder is refused. Beyond the names of the files, the memory
    that is needed does not depend on the number of images.

    Conditions that are read from files go into ``conditions`` in that folder, an imported set of its own; those that
    are made of the images, such as ``downsample:4``, are made again whenever the folder is opened.

    Args:
        source: name or path, as for :func:`elucidiff.data.open`; here the images may differ in size.
        out: the folder to make.
        resize: height and width to bring the images to, or one number for both. None: all have one size already.
        crop: what to do with other aspect ratios: keep the ``centre``, ``pad`` with black, ``stretch``, or ``wide``;
            see :func:`elucidiff.data.fitting.fit`.
        channels: 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA). None: all have the same already.
        skip_broken: leave broken images out, instead of stopping at the first.
        workers: number of threads; None for one a core, or one in all if the images are small.
        progress: called as ``progress(stage, done, total)`` in the stages "checking", "converting" and "comparing".
        reading: which reading to take where several are possible.
        condition: where the conditions are, as for :func:`elucidiff.data.open`.
        condition_resize: like ``resize``, of conditions; None: that of the images.

    Raises:
        OSError: a file cannot be read, or the folder cannot be written.
        ValueError: settings that do not fit the data, a broken image, or a folder that holds something else, such as
            what the source was before it changed, or that another process is writing to.

    >>> import elucidiff as ed
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = ed.data.import_dataset("digits", f"{folder}/digits")
    ...     dataset = ed.data.open(made.folder)
    ...
    >>> len(dataset), dataset.shape
    (1797, (1, 8, 8))
    """
    reading = reading or AS_USUAL
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}, but must be at least 1")
    contents = find(source, alike=False, reading=reading, progress=progress)
    if contents.originals is not None:
        raise ValueError(f"{contents.name} holds latents, and is imported already: use it, or import its pictures")
    contents = paired(contents, source, condition, reading=reading, alike=False, progress=progress)
    out = Path(out).expanduser()
    fields, made = contents.conditions, ""
    if fields is not None:
        made = described(fields)
        if not made and (contents.broken or skip_broken):
            broken = contents.broken[0] if contents.broken else "skip_broken is set"
            raise ValueError(f"{broken}: images with conditions are left out in pairs, so do that beforehand")
    elif condition_resize is not None:
        raise ValueError("condition_resize would have no effect without conditions: name them, or leave it out")
    size = resize if condition_resize is None else condition_resize
    if made and condition_resize is not None:
        raise ValueError(f"condition_resize would have no effect, as {made} is made of the images: leave it out")
    described_by = {"source": str(source), "condition": "" if condition is None else str(condition)}
    work = _Import(reading, skip_broken, workers, progress, described_by)
    if fields is None or made:
        return work.into(out, contents, _conversion(resize, crop, channels), made)
    # The conditions come first, beside the folder, which so appears whole: with them or not at all.
    beside = out.with_name(f"{out.name}.conditions")
    inside = out / CONDITIONS
    of_fields = replace(contents, name=f"{contents.name} conditions", source=fields, labels=None, conditions=None)
    there = inside if inside.is_dir() else beside
    first = work.into(there, of_fields, _conversion(size, crop, None), "")
    imported = work.into(out, contents, _conversion(resize, crop, channels), STORED, first.sha256)
    if there != inside:
        beside.rename(inside)
    return replace(imported, condition_shape=first.shape)


def _conversion(resize: int | tuple[int, int] | None, crop: Crop, channels: int | None) -> Conversion:
    return Conversion((resize, resize) if isinstance(resize, int) else resize, crop, channels)


@dataclass(frozen=True)
class _Import:
    """The settings of an import."""

    reading: Reading
    skip_broken: bool
    workers: int | None
    progress: Progress | None
    given: Mapping[str, str]

    def into(
        self, out: Path, contents: Contents, conversion: Conversion, condition: str, fields: str = ""
    ) -> Imported:
        """Bring the images and labels of ``contents`` into the folder ``out``.

        Args:
            out: the folder to make.
            contents: the images, and the rest.
            conversion: what is done to images.
            condition: how conditions are made of the images, or :data:`STORED`; empty for none.
            fields: checksum of the conditions that are stored.
        """
        progress, skip_broken = self.progress, self.skip_broken
        if not isinstance(contents.source, ImageFiles):
            conversion.check(contents.name, contents.source)
        key = _key(contents, conversion, skip_broken, self.reading, condition + fields)
        if is_imported(out):
            meta = _meta(out, key)
            _compare(contents, meta, progress)
            return Imported.of(out, meta)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise FileExistsError(f"{out} exists and is not an imported data set: choose another folder")
        survey = _survey(contents, conversion, skip_broken)
        if condition not in ("", STORED):
            parts.parse("condition", condition).shape(survey.shape)  # refuses images of which it cannot be made
        threads = self.workers or _threads(survey)
        total = len(contents.source)
        with PartialImport(out, key, survey.shape, contents.source.dtype, total) as partial:
            partial.check_source(_digests(contents, partial.done, progress))
            for items in _converted(contents, conversion, survey, partial.done, skip_broken, threads):
                partial.append(items)
                if progress is not None:
                    progress("converting", partial.done, total)
            kept = np.delete(np.arange(total), partial.broken)
            if not len(kept):
                raise ValueError(f"{contents.name} holds no image that is not broken")
            labels = None if contents.labels is None else contents.labels.select(kept)
            broken = [*contents.broken, *(f"cannot decode image {_where(contents, row)}" for row in partial.broken)]
            meta = {
                "format": FORMAT,
                "version": VERSION,
                "name": out.name,
                "count": len(kept),
                "shape": survey.shape,
                "dtype": str(contents.source.dtype),
                "label_dim": 0 if labels is None else labels.dim,
                "class_names": [] if labels is None else labels.names,
                "condition": condition,
                "skipped": sorted(broken),
                "enlarged": survey.enlarged,
                "notes": contents.notes,
                "provenance": {
                    **{name: text for name, text in self.given.items() if text},
                    "settings": asdict(conversion) | self.reading.changed(),
                    "elucidiff": elucidiff.__version__,
                    "date": datetime.now(UTC).isoformat(timespec="seconds"),
                },
            }
            partial.finish(labels, meta)
        return Imported.of(out, read_meta(out))


def _meta(out: Path, key: str) -> dict[str, Any]:
    """The result of an import that is complete, if it is the one that was asked for."""
    meta = read_meta(out)
    if meta["key"] != key:
        raise FileExistsError(f"{out} holds other data, or was imported with other settings: choose another folder")
    return meta


def _made_shape(meta: Mapping[str, Any]) -> tuple[int, ...]:
    """Shape of the conditions that are made of the images; empty for none, and for those that are stored."""
    condition = condition_of(meta)
    if condition in ("", STORED):
        return ()
    made: tuple[int, ...] = parts.parse("condition", condition).shape(tuple(meta["shape"]))
    return made


def _compare(contents: Contents, meta: dict[str, Any], progress: Progress | None) -> None:
    """Check that the source still is what was imported."""
    digest = hashlib.sha256()
    for of_image in _digests(contents, len(contents.source), progress):
        digest.update(of_image)
    if digest.hexdigest() != meta["sha256_source"]:
        raise FileExistsError(
            f"{meta['name']} was imported from {contents.name} when that held other data: remove it to import what it"
            " holds now, or choose another folder"
        )


def _digests(contents: Contents, count: int, progress: Progress | None) -> Iterator[bytes]:
    """Digests of the first ``count`` images as they are stored."""
    source = contents.source
    step = _CHUNK if isinstance(source, ImageFiles) else rows_at_once(source, _CHUNK_BYTES)
    for start in range(0, count, step):
        rows = np.arange(start, min(start + step, count))
        if isinstance(source, ImageFiles):
            yield from (file_digest(source, row) for row in rows.tolist())
        else:
            yield from (array_digest(image) for image in source.read(rows))
        if progress is not None:
            progress("comparing", int(rows[-1]) + 1, count)


def _key(contents: Contents, conversion: Conversion, skip_broken: bool, reading: Reading, condition: str) -> str:
    """A digest of the settings, the labels, and the names and type of the images; :func:`_digests` has the rest."""
    source = contents.source
    settings = [VERSION, asdict(conversion), skip_broken, reading.changed(), len(source), condition]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    if isinstance(source, ImageFiles):
        for row in range(len(source)):
            digest.update(f"{source.names[row]}\0".encode(errors="surrogateescape"))
    else:
        digest.update(f"{source.shape} {source.dtype}".encode())
    if contents.labels is not None:
        digest.update(json.dumps(contents.labels.names).encode())
        digest.update(np.ascontiguousarray(contents.labels.values).data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class _Survey:
    """The shapes that the headers of the images state."""

    shape: tuple[int, ...]
    enlarged: int
    mean_pixels: float
    most_pixels: int


def _threads(survey: _Survey) -> int:
    """As many as there are cores, if the images are worth it and the memory allows it."""
    if survey.mean_pixels < _PIXELS_WORTH_A_THREAD:
        return 1
    return max(1, min(os.cpu_count() or 1, _MEMORY // (_BYTES_A_PIXEL * survey.most_pixels)))


def _survey(contents: Contents, conversion: Conversion, skip_broken: bool) -> _Survey:
    """Find, before any work is done, that all images will come out alike."""
    source = contents.source
    total = len(source)
    if contents.broken and not skip_broken:
        raise ValueError(contents.broken[0])
    if not isinstance(source, ImageFiles):
        shape = source.shape
        enlarged = total if conversion.enlarges(shape) else 0
        pixels = math.prod(shape[1:])
        return _Survey(conversion.result_shape(shape), enlarged, pixels, pixels)
    shape = ()
    enlarged = pixels = most = 0
    for row in range(total):
        found = source.header(row)
        result = conversion.result_shape(found)
        if row and result != shape:
            raise ValueError(
                f"images differ: {source.where(0)} would be {describe(shape)}, but {source.where(row)}"
                f" {describe(result)}; choose {'channels' if result[1:] == shape[1:] else 'a size (resize)'}"
            )
        shape = result
        enlarged += conversion.enlarges(found)
        pixels += found[1] * found[2]
        most = max(most, found[1] * found[2])
    return _Survey(shape, enlarged, pixels / total, most)


def _converted(
    contents: Contents, conversion: Conversion, survey: _Survey, done: int, skip_broken: bool, workers: int
) -> Iterator[list[Item]]:
    """The images from position ``done`` on, converted, some at a time, with digests of what they were made of."""
    source = contents.source
    image_bytes = math.prod(survey.shape) * source.dtype.itemsize
    size = min(_CHUNK, max(1, _CHUNK_BYTES // image_bytes))
    ahead = max(1, min(4 * workers, _MEMORY // (size * image_bytes)))

    def checked(image: Images, row: int) -> Images:
        if image.shape != survey.shape:
            raise ValueError(f"{_where(contents, row)} has changed since its header was read")
        return image

    if not isinstance(source, ImageFiles):
        return _converted_arrays(source, conversion, checked, done, size, workers, ahead)

    def one(row: int) -> Item:
        digest = file_digest(source, row)
        try:
            return checked(conversion(source.image(row)), row), digest
        except (ValueError, OSError):
            if skip_broken:
                return None, digest
            raise

    def chunk(start: int) -> list[Item]:
        return [one(row) for row in range(start, min(start + size, len(source)))]

    return in_order(chunk, range(done, len(source), size), workers, ahead)


def _converted_arrays(
    source: Source,
    conversion: Conversion,
    checked: Callable[[Images, int], Images],
    done: int,
    size: int,
    workers: int,
    ahead: int,
) -> Iterator[list[Item]]:
    """As :func:`_converted`. One thread reads, in order: what is packed can be unpacked only from front to back."""
    size = max(size, rows_at_once(source, 0))

    def chunk(piece: tuple[int, Images]) -> list[Item]:
        start, images = piece
        return [
            (checked(conversion(image), start + place), array_digest(image)) for place, image in enumerate(images)
        ]

    starts = range(done, len(source), size)
    pieces = ((start, source.read(np.arange(start, min(start + size, len(source))))) for start in starts)
    return in_order(chunk, pieces, 1 if size > _CHUNK else workers, ahead)


def _where(contents: Contents, row: int) -> str:
    source = contents.source
    return source.where(row) if isinstance(source, ImageFiles) else f"image {row} of {contents.name}"
