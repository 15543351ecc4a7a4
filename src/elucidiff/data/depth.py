"""Bits of deep pictures that are in use, of 16: cameras and scanners store 10, 12 or 14 bits in such files."""

from __future__ import annotations

from elucidiff.data.decoding import PictureFile
from elucidiff.data.reading import Reading
from elucidiff.data.values import white_of

FULL = 65535
# From here on, all 16 bits are in use; and of colours, of which Pillow keeps the upper 8 bits, enough are left.
_SIXTEEN_BITS, _ENOUGH_LEVELS = 1 << 14, 64


class Depth:
    """What is found of the depth of pictures as their files are gone through.

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
