"""Picture files as a source of images, of one number of bits."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from elucidiff.data.decoding import PictureFile, Pixels, Shape
from elucidiff.data.reading import AS_USUAL, Reading
from elucidiff.data.sources import Images, Rows
from elucidiff.data.trees import Tree
from elucidiff.data.values import white_of
from elucidiff.untrusted import printable

FULL = 65535
# From here on, all 16 bits are in use; and of colours, of which Pillow keeps the upper 8 bits, enough are left.
_SIXTEEN_BITS, _ENOUGH_LEVELS = 1 << 14, 64


class Depth:
    """The depth of pictures, as it is found while their files are gone through.

    Pixels are decoded only of 16-bit pictures, and no longer than it is open which bits are in use.

    Args:
        reading: what was asked for.
    """

    def __init__(self, reading: Reading) -> None:
        self._wanted = None if reading.white is None else round(reading.white)
        self._grey = self._colours = 0
        self._highest = self._highest_colour = 0
        self._example = ""

    def add(self, picture: PictureFile, page: int, where: str) -> None:
        """Look at a page.

        Raises:
            ValueError: it has values above the white that was asked for.
        """
        kind = picture.sixteen_bits(page)
        if kind == "grey":
            self._grey += 1
            needed = self._highest < _SIXTEEN_BITS if self._wanted is None else self._wanted < FULL
            if needed and (found := _highest(picture, page)) > self._highest:
                self._highest, self._example = found, where
        elif kind == "colours":
            self._colours += 1
            if self._highest_colour < _ENOUGH_LEVELS:
                self._highest_colour = max(self._highest_colour, _highest(picture, page))

    def white(self, where: str) -> tuple[int, tuple[str, ...]]:
        """The value of 16-bit grey pictures that becomes white, and what to say of it.

        Args:
            where: what to call the data set in a message.

        Raises:
            ValueError: a white was asked for, but there are no 16-bit grey pictures, or they have higher values.
        """
        notes = []
        if self._colours and self._highest_colour < _ENOUGH_LEVELS:
            notes.append(
                f"{where}: {_pictures(self._colours)} 16-bit colours, of which the upper 8 bits are kept; at most"
                f" {self._highest_colour + 1} levels of each are left, so that they are nearly black: save them as"
                " 8-bit pictures in the range in use, or as .npy"
            )
        if self._wanted is not None:
            if not self._grey:
                raise ValueError(f"{where} has no 16-bit grey pictures, of which white could be set: leave white out")
            if self._highest > self._wanted:
                raise ValueError(f"{self._example} has values up to {self._highest}, above {self._wanted} (white)")
            return self._wanted, tuple(notes)
        if not self._grey:
            return FULL, tuple(notes)
        white = 1 if self._highest == 1 else white_of(self._highest)
        if white < FULL:
            notes.append(
                f"{where}: {_pictures(self._grey)} 16-bit grey values, of which {white.bit_length()} bits are in use"
                f" (up to {self._highest} in {self._example}): {white} is read as white; --white 65535 reads all 16"
            )
        return white, tuple(notes)


def _highest(picture: PictureFile, page: int) -> int:
    try:
        return picture.highest(page)
    except ValueError:
        return 0  # a picture whose pixels are damaged is found when it is decoded


def _pictures(count: int) -> str:
    return f"{count:,} pictures have" if count != 1 else "1 picture has"


class ImageFiles:
    """Images in picture files, decoded when they are asked for.

    Args:
        tree: the folder or archive.
        names: the file of each image.
        pages: which page or frame of the file each one is, -1 for the only one; None if all are.
        shapes: ``(C, H, W)`` of each, where the headers were read; None where they were not.
        white: the value of 16-bit grey pictures that becomes 255.
    """

    dtype: np.dtype[Any] = np.dtype(np.uint8)

    def __init__(
        self,
        tree: Tree,
        names: Sequence[str],
        pages: npt.NDArray[np.int32] | None = None,
        shapes: npt.NDArray[np.int32] | None = None,
        white: int = FULL,
    ) -> None:
        self.tree, self.names = tree, names
        self._pages, self._shapes, self._white = pages, shapes, white
        self._open = _LastOpened()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(C, H, W)`` of the first image; of all, once :meth:`check_alike` has passed."""
        return self.header(0)

    def __len__(self) -> int:
        return len(self.names)

    def where(self, row: int) -> str:
        """The name of an image in a message."""
        return self.tree.where(self.names[row]) + self._of_page(row)

    def name(self, row: int) -> str:
        """The file of an image, from the root of the tree on, with its page if it has several."""
        return self.names[row] + self._of_page(row)

    def is_later_page(self, row: int) -> bool:
        """True if an image is in the same file as the one before it."""
        return self._page(row) >= 0 and row > 0 and self.names[row] == self.names[row - 1]

    def header(self, row: int) -> Shape:
        """Shape ``(C, H, W)`` of an image, without decoding it."""
        if self._shapes is not None:
            channels, height, width = self._shapes[row].tolist()
            return channels, height, width
        with PictureFile(self.tree.open(self.names[row]), self.where(row)) as picture:
            return picture.shape(picture.pages[0])

    def image(self, row: int) -> Pixels:
        """Pixels of an image, uint8 ``(C, H, W)``."""
        page = self._page(row)
        if page >= 0:
            name = self.names[row]
            picture = self._open.picture(name, lambda: PictureFile(self.tree.open(name), self.tree.where(name)))
            return picture.pixels(page, self._white)
        with PictureFile(self.tree.open(self.names[row]), self.where(row)) as picture:
            return picture.pixels(picture.pages[0], self._white)

    def numbers(self, row: int) -> Images:
        """Values of an image of 32 bits a value, ``(1, H, W)``."""
        with PictureFile(self.tree.open(self.names[row]), self.where(row)) as picture:
            page = self._page(row)
            return picture.numbers(picture.pages[0] if page < 0 else page)

    def select(self, rows: Rows) -> ImageFiles:
        """Some of the images."""
        return ImageFiles(
            self.tree,
            [self.names[row] for row in rows.tolist()],
            None if self._pages is None else self._pages[rows],
            None if self._shapes is None else self._shapes[rows],
            self._white,
        )

    def check_alike(self) -> None:
        """Check that all images have one shape, after reading their headers where that was not done.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file is not an image, or two images differ in size or channels; the message names them.
        """
        for row in range(len(self)):
            shape = self.header(row)
            if shape != self.shape:
                raise ValueError(
                    f"images differ: {self.where(0)} is {describe(self.shape)}, but {self.where(row)} is"
                    f" {describe(shape)}; import the data to bring all to one size"
                )

    def read(self, rows: Rows) -> Images:
        images = np.empty((len(rows), *self.shape), np.uint8)
        for place, row in enumerate(rows.tolist()):
            image = self.image(row)
            if image.shape != self.shape:
                raise ValueError(f"{self.where(row)} has changed since the data set was opened")
            images[place] = image
        return images

    def _of_page(self, row: int) -> str:
        page = self._page(row)
        return f" (page {page + 1})" if page >= 0 else ""

    def _page(self, row: int) -> int:
        return -1 if self._pages is None else int(self._pages[row])


class NumberFiles:
    """Images in picture files with 32 bits a value, as arrays of these values.

    Args:
        files: of one shape.
        dtype: of the values.
    """

    def __init__(self, files: ImageFiles, dtype: np.dtype[Any]) -> None:
        self._files, self.dtype = files, dtype
        self.shape: tuple[int, ...] = files.shape
        self.names = files.names

    def __len__(self) -> int:
        return len(self._files)

    def read(self, rows: Rows) -> Images:
        images = np.empty((len(rows), *self.shape), self.dtype)
        for place, row in enumerate(rows.tolist()):
            image = self._files.numbers(row)
            if image.shape != self.shape:
                raise ValueError(f"{self._files.where(row)} has changed since the data set was opened")
            images[place] = image
        return images


@dataclass(frozen=True)
class Scanned:
    """Headers of picture files.

    Attributes:
        files: the images whose header is sound.
        rows: the position of each one's file in the list that was scanned.
        broken: what is wrong with the other files.
        notes: what was left out.
        numbers: the type of the values, where they have 32 bits and are read as those of an array; else None.
    """

    files: ImageFiles
    rows: Rows
    broken: tuple[str, ...]
    notes: tuple[str, ...]
    numbers: np.dtype[Any] | None = None


def scan(
    tree: Tree,
    names: Sequence[str],
    reading: Reading = AS_USUAL,
    progress: Callable[[str, int, int], None] | None = None,
) -> Scanned:
    """Read the headers of picture files: which are sound, how many pages each has, and how large these are.

    Args:
        tree: the folder or archive.
        names: the files.
        reading: which pages to take, and what of 16-bit pictures is white.
        progress: called as ``progress("checking", done, total)``.

    Raises:
        ValueError: a white was asked for that does not suit the pictures.
    """
    rows: list[int] = []
    pages: list[int] = []
    shapes: list[Shape] = []
    broken: list[str] = []
    several = accompanying = further = 0
    example = first = ""
    numbers: np.dtype[Any] | None = None
    depth = Depth(reading)
    for row, name in enumerate(names):
        where = tree.where(name)
        try:
            with PictureFile(tree.open(name), where) as picture:
                kept = picture.pages if reading.pages == "all" else picture.pages[:1]
                found = [picture.shape(page) for page in kept]
                kinds = {picture.stores_numbers(page) for page in kept}
                if not first:
                    first, numbers = where, kinds.pop()
                    kinds.add(numbers)
                if kinds != {numbers}:
                    raise ValueError(
                        f"cannot read image {where}: it is {_kind(kinds)}, but {first} {_kind({numbers})}"
                    )
                if numbers is None:
                    for page in kept:
                        depth.add(picture, page, where)
                accompanying += picture.left_out > 0
                if len(picture.pages) > 1:
                    several += 1
                    further += len(picture.pages) - len(kept)
                    example = example or f"{where} with {len(picture.pages):,}"
        except (OSError, ValueError) as error:
            broken.append(_reason(error, where))
            continue
        rows += [row] * len(kept)
        pages += [-1] if kept == (0,) else kept
        shapes += found
        if progress is not None and (row % _STEP == 0 or row == len(names) - 1):
            progress("checking", row + 1, len(names))
    if numbers is None:
        reading.refuse(printable(str(tree.root)), "missing")
    white, deep = depth.white(printable(str(tree.root))) if numbers is None else (FULL, ())
    notes = [*deep]
    if several and reading.pages == "all":
        notes.append(
            f"{_files(several)} several pages or frames (such as {example}), and each became an image; --pages first"
            " takes the first of each"
        )
    elif several:
        notes.append(f"left out: {further:,} pages or frames after the first; {_files(several)} several")
    if accompanying:
        notes.append(
            f"{_files(accompanying)} previews, depth maps or masks beside the picture itself, which were left out"
        )
    files = ImageFiles(
        tree,
        [names[row] for row in rows],
        np.array(pages, np.int32) if any(page >= 0 for page in pages) else None,
        np.array(shapes, np.int32).reshape(-1, 3),
        white,
    )
    return Scanned(files, np.array(rows, np.int64), tuple(broken), tuple(notes), numbers)


def describe(shape: tuple[int, ...]) -> str:
    """A shape in words, as in "3 channels of 32 x 24 (width x height)"."""
    channels, height, width = shape
    return f"{channels} channel{'s' if channels > 1 else ''} of {width} x {height}"


class _LastOpened:
    """The file with several pages that a thread read last, kept open: the next page comes from it, as a rule."""

    def __init__(self) -> None:
        self._local = threading.local()

    def picture(self, name: str, opened: Callable[[], PictureFile]) -> PictureFile:
        # After a fork, parent and child would move one file position.
        key = (os.getpid(), name)
        if getattr(self._local, "key", None) != key:
            before = self._local.__dict__.pop("picture", None)
            if before is not None:
                before.close()
            self._local.key = None
            self._local.picture = opened()
            self._local.key = key
        picture: PictureFile = self._local.picture
        return picture

    def __reduce__(self) -> tuple[type[_LastOpened], tuple[()]]:
        return _LastOpened, ()


_STEP = 64


def _kind(kinds: set[np.dtype[Any] | None]) -> str:
    return " and ".join(sorted("8 or 16 bits a value" if kind is None else str(kind) for kind in kinds))


def _files(count: int) -> str:
    return f"{count:,} files have" if count != 1 else "1 file has"


def _reason(error: OSError | ValueError, where: str) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot read image {where}: {error.strerror}"
    return str(error) if where in str(error) else f"cannot read image {where}: {error}"
