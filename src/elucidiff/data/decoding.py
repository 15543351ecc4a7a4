"""One picture file as arrays, by Pillow: no format that starts a program, no decoding before the size is known."""

from __future__ import annotations

import io
import os
import struct
from types import TracebackType
from typing import IO, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from elucidiff.data.formats import FORMATS, HEAD_BYTES, is_picture, other_kind
from elucidiff.data.values import to_8_bit
from elucidiff.untrusted import printable

Shape = tuple[int, int, int]
Pixels = npt.NDArray[np.uint8]

# What an image becomes: grey, grey with alpha, RGB or RGBA. Palettes and other colour spaces are turned into RGB.
_TARGETS = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGBA": "RGBA", "RGBa": "RGBA", "RGB": "RGB", "RGBX": "RGB"}
_TARGETS |= {"P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
_CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "I": 1, "F": 1}
# These have no 8-bit form: their values are numbers, which are read like those of an array.
_NUMBERS: dict[str, np.dtype[Any]] = {"I": np.dtype(np.int32), "F": np.dtype(np.float32)}

_ORIENTATION = 0x0112
# The formats whose tag is to be followed here. Pillow follows that of TIFF files itself; the others have none.
_ORIENTED = frozenset({"PNG", "JPEG", "MPO", "WEBP", "AVIF", "JPEG2000"})

# Bytes of pixels that any file may declare; beyond, it must hold a byte for every 96 of them, so that a few bytes
# cannot take gigabytes. A JPEG of a clear sky has about 90.
_PIXEL_BYTES_ALWAYS = 1 << 26
_PIXEL_BYTES_A_BYTE = 96
_PIXELS_AT_MOST = 178_956_970  # where Pillow itself stops
_PAGES_AT_MOST = 1 << 16
_BYTES_A_PAGE = 8  # the least that a page takes in a file of any format
_BAND_PIXELS = 1 << 20

_REDUCED_OR_MASK = 0b101  # of TIFF's NewSubfileType


def header(file: IO[bytes], where: str) -> Shape:
    """Shape ``(C, H, W)`` that :func:`decode` will give, without decoding the pixels.

    Raises:
        ValueError: not an image that can be read; the message names ``where``.
    """
    with PictureFile(file, where) as picture:
        return picture.shape(picture.pages[0])


def decode(file: IO[bytes], where: str) -> Pixels:
    """The pixels of the first page, uint8 ``(C, H, W)``; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).

    Palettes become RGB, or RGBA if a colour is transparent; CMYK and the like RGB; 16-bit grey values v become
    round(255 v / 65535); a single transparent colour becomes an alpha channel; pictures are turned upright by their
    orientation tag.

    Raises:
        ValueError: the file is damaged or not an image; the message names ``where``.
    """
    with PictureFile(file, where) as picture:
        return picture.pixels(picture.pages[0])


class PictureFile:
    """A picture file, page by page: TIFF files have pages, and GIF, PNG, WebP and AVIF files frames.

    Args:
        file: open for reading; it is closed with the picture.
        where: what to call it in a message.

    Attributes:
        pages: the numbers of the pages or frames that are pictures of their own, in order; at least one.
        left_out: how many more there are: previews, depth maps and masks that accompany a picture.

    Raises:
        ValueError: the file is damaged or not an image, or has too many pages; the message names ``where``.
    """

    def __init__(self, file: IO[bytes], where: str) -> None:
        self._where, self._file = where, file
        try:
            self._image = Image.open(file, formats=FORMATS)
            self._orientation = _orientation(self._image, file)
            count = self._count()
            self.pages = self._pictures(count)
        except Exception as error:  # Pillow raises many types for damaged files
            said = self._unreadable(error)
            file.close()
            raise said from None
        self.left_out = count - len(self.pages)
        # Later frames may come in another mode, but those of one file must be alike. TIFF's pages are independent.
        self._target = None if self._image.format == "TIFF" else self._target_now(animated=len(self.pages) > 1)

    def shape(self, page: int) -> Shape:
        """Shape ``(C, H, W)`` of a page, without decoding it.

        Raises:
            ValueError: the page is damaged, or too large for its file.
        """
        self._seek(page, load=False)
        width, height = self._image.size
        self._check_size()
        channels = _CHANNELS[self._target or self._target_now(animated=False)]
        return (channels, width, height) if self._orientation >= 5 else (channels, height, width)

    def sixteen_bits(self, page: int) -> Literal["grey", "colours"] | None:
        """Kind of the pixels with 16 bits a value: grey, or colours, of which Pillow keeps the upper 8; or None."""
        self._seek(page, load=False)
        if _is_16_bit(self._image):
            return "grey"
        return "colours" if ";16" in _raw_mode(self._image) else None

    def stores_numbers(self, page: int) -> np.dtype[Any] | None:
        """The type of the values of a page with 32 bits a value, which are whole numbers or floating point."""
        self._seek(page, load=False)
        return None if _is_16_bit(self._image) else _NUMBERS.get(self._image.mode)

    def numbers(self, page: int) -> npt.NDArray[Any]:
        """The values of a page that :meth:`stores_numbers`, ``(1, H, W)``.

        Raises:
            ValueError: the page is damaged, too large for its file, or holds 8-bit or 16-bit pixels.
        """
        if self.stores_numbers(page) is None:
            raise ValueError(
                f"cannot read image {self._where}: its pixels are none of 32 bits, as those of others here"
            )
        self._check_size()
        try:
            return np.array(self._image)[None]
        except Exception as error:
            raise self._unreadable(error) from None

    def highest(self, page: int) -> int:
        """The highest value of a page, as Pillow gives it, without alpha.

        Raises:
            ValueError: the page is damaged, or too large for its file.
        """
        self._seek(page, load=True)
        self._check_size()
        try:
            limits: Any = self._image.getextrema()
        except Exception as error:
            raise self._unreadable(error) from None
        if not isinstance(limits[0], tuple):
            return int(limits[1])
        return max(int(high) for _, high in (limits[:-1] if len(limits) in (2, 4) else limits))

    def pixels(self, page: int, white: int = 65535) -> Pixels:
        """The pixels of a page, uint8 ``(C, H, W)``; see :func:`decode`.

        Args:
            page: its number.
            white: the value of 16-bit grey pictures that becomes 255.

        Raises:
            ValueError: the page is damaged, or too large for its file.
        """
        shape = self.shape(page)
        self._seek(page, load=True)
        image = self._image
        self._check_size()
        target = self._target or self._target_now(animated=False)
        if target in _NUMBERS:
            raise ValueError(
                f"cannot read image {self._where}: its values have 32 bits and no 8-bit form; save it as .npy, or as"
                " PNG with 8 or 16 bits"
            )
        clear, wide = _clear_colour(image), _is_16_bit(image)
        try:
            out = np.empty(shape, np.uint8)
            stored = _as_stored(out, self._orientation)
            image.load()
            rows = max(1, _BAND_PIXELS // image.width)
            for top in range(0, image.height, rows):
                # A part at a time: for a large picture, each copy of all of it counts.
                bottom = min(top + rows, image.height)
                band = image if rows >= image.height else image.crop((0, top, image.width, bottom))
                stored[:, top:bottom] = _band(band, target, clear, white if wide else None)
        except Exception as error:
            raise self._unreadable(error) from None
        return out

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._image.close()
        self._file.close()

    def _count(self) -> int:
        """Pages or frames. Formats that write their number down may say any."""
        most = _PAGES_AT_MOST
        if self._image.format == "TIFF":
            count = 1  # one by one, so that too many are noticed in time
            while count <= most:
                try:
                    self._image.seek(count)
                except EOFError:
                    break
                count += 1
            self._image.seek(0)
        else:
            count = getattr(self._image, "n_frames", 1)
        if count > 1 and count > _length(self._file) // _BYTES_A_PAGE:
            raise ValueError(f"it declares {count:,} frames, but is too small for them")
        if count > most:
            raise ValueError(f"it has more than {most:,} pages: split it")
        return count

    def _pictures(self, count: int) -> tuple[int, ...]:
        if self._image.format == "MPO":  # a photograph, followed by previews, or by depth or gain maps
            return (0,)
        if self._image.format != "TIFF":
            return tuple(range(count))
        kept = []
        for page in range(count):
            self._image.seek(page)
            kind = self._image.tag_v2.get(254, 0)  # type: ignore[attr-defined]
            if not (isinstance(kind, int) and kind & _REDUCED_OR_MASK):
                kept.append(page)
        self._image.seek(0)
        return tuple(kept) or (0,)

    def _seek(self, page: int, *, load: bool) -> None:
        """Go to a page. The frames of an animation have one size and are drawn on each other, one after the other."""
        image = self._image
        if image.format != "TIFF" and not load:
            return
        try:
            if image.format == "TIFF":
                image.seek(page)
                return
            if page < image.tell():  # from the start again: Pillow cannot rewind each of its formats twice
                self._file.seek(0)
                image = self._image = Image.open(self._file, formats=FORMATS)
            for frame in range(image.tell() + 1, page + 1):
                image.seek(frame)
                self._check_size()
        except Exception as error:
            raise self._unreadable(error) from None

    def _check_size(self) -> None:
        width, height = self._image.size
        pixels = width * height
        if not pixels:
            raise ValueError(f"cannot read image {self._where}: it has no pixels")
        if pixels > _PIXELS_AT_MOST:
            raise ValueError(
                f"cannot read image {self._where}: it declares {width} x {height} pixels, more than"
                f" {_PIXELS_AT_MOST:,}: make it smaller, or cut it in pieces"
            )
        target = self._target or self._target_now(animated=False)
        size = pixels * _CHANNELS[target] * (4 if target in _NUMBERS else 1)
        if size > _PIXEL_BYTES_ALWAYS and size > _PIXEL_BYTES_A_BYTE * (length := _length(self._file)):
            raise ValueError(
                f"cannot read image {self._where}: it declares {width} x {height} pixels, but has {length:,} bytes:"
                " it is damaged, or made to fill the memory; if it is sound, save it without compression"
            )

    def _target_now(self, *, animated: bool) -> str:
        image = self._image
        mode = image.mode
        if _is_16_bit(image):
            mode = "L"
        if _is_grey_in_colour(image):
            mode = "LA"
        if animated and image.format == "GIF":
            mode = "P"  # a later frame may have colours, even if this one has none
        if mode in _NUMBERS:
            return mode
        if mode not in _TARGETS:
            raise ValueError(
                f"cannot read image {self._where}: pixels of type {mode} have no 8-bit form; save them as .npy"
            )
        if "transparency" in image.info and mode in ("1", "L", "P", "RGB"):
            return "LA" if mode in ("1", "L") else "RGBA"
        return _TARGETS[mode]

    def _unreadable(self, error: Exception) -> ValueError:
        if isinstance(error, ValueError) and str(error).startswith("cannot read image"):
            return error
        # Pillow describes a file object by its address, which helps nobody.
        reason = printable(" ".join(str(error).split()))
        if "cannot identify" in reason:
            reason = self._what_it_is()
        return ValueError(f"cannot read image {self._where}: {reason or type(error).__name__}")

    def _what_it_is(self) -> str:
        """A message about a file that Pillow cannot open."""
        try:
            self._file.seek(0)
            head = self._file.read(HEAD_BYTES)
        except Exception:  # archives raise many types for damage
            return "not an image"
        kind = other_kind(head)
        if kind is not None:
            return f"it is {kind}, which is not read: save it as PNG or JPEG"
        if is_picture(head):
            return (
                "it is damaged, or its pixels are of a kind that is not read: save it as PNG, or its values as .npy"
            )
        return "not an image"


def _band(image: Image.Image, target: str, clear: int | tuple[int, ...] | None, white: int | None) -> Pixels:
    """Some rows of an image, ``(C, H, W)``; ``white`` is None for those of 8 bits."""
    if white is not None:
        values = np.asarray(image)[..., None]
        pixels = to_8_bit(values, white)
        return _channels_first(pixels if clear is None else _with_alpha(pixels, values != clear))
    if target == "LA" and image.mode == "RGBA":
        return _channels_first(np.asarray(image)[..., [0, 3]])
    if clear is not None and image.mode in ("1", "L", "RGB"):
        pixels = np.asarray(image.convert(target.removesuffix("A")))
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        return _channels_first(_with_alpha(pixels, pixels != np.asarray(clear)))
    pixels = np.asarray(image if image.mode == target else image.convert(target))
    return _channels_first(pixels[..., None] if pixels.ndim == 2 else pixels)


def _with_alpha(pixels: Pixels, differs: npt.NDArray[np.bool_]) -> Pixels:
    alpha = differs.any(-1, keepdims=True).astype(np.uint8) * 255
    return np.concatenate([pixels, alpha], -1)


def _channels_first(pixels: Pixels) -> Pixels:
    return pixels.transpose(2, 0, 1)


def _as_stored(upright: Pixels, orientation: int) -> Pixels:
    """A view of an upright image ``(C, H, W)`` in which its pixels lie as in a file with this orientation tag."""
    views = {
        2: upright[:, :, ::-1],
        3: upright[:, ::-1, ::-1],
        4: upright[:, ::-1],
        5: upright.transpose(0, 2, 1),
        6: np.rot90(upright, 1, (1, 2)),
        7: upright.transpose(0, 2, 1)[:, ::-1, ::-1],
        8: np.rot90(upright, -1, (1, 2)),
    }
    return views.get(orientation, upright)


def _is_16_bit(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")


def _is_grey_in_colour(image: Image.Image) -> bool:
    """Pillow unpacks 16-bit grey with alpha as RGBA."""
    return image.mode == "RGBA" and image.format == "PNG" and _raw_mode(image) == "LA;16B"


def _raw_mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", ())
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _clear_colour(image: Image.Image) -> int | tuple[int, ...] | None:
    """The one colour that is transparent in a grey or RGB image, in the values that Pillow gives its pixels.

    A PNG file names it in the depth in which it stores them, and only the low bits count.
    """
    value = image.info.get("transparency")
    if image.format != "PNG" or image.mode not in ("1", "L", "RGB", "I;16"):
        return None
    if isinstance(value, int):
        raw = _raw_mode(image)
        if raw == "L;2":
            return (value & 3) * 85
        if raw == "L;4":
            return (value & 15) * 17
        return value if image.mode in ("I;16", "1") else value & 255
    if isinstance(value, tuple):
        return tuple(part >> 8 if _raw_mode(image) == "RGB;16B" else part & 255 for part in value)
    return None


def _orientation(image: Image.Image, file: IO[bytes]) -> int:
    """The EXIF orientation, 1 for upright to 8; 5 and more swap width and height."""
    if image.format not in _ORIENTED:
        return 1
    try:
        if isinstance(image, PngImagePlugin.PngImageFile) and "exif" not in image.info:
            # Pillow would decode the pixels to see what follows them.
            found = _png_exif(file)
            if found is not None:
                image.info["exif"] = found
        value: Any = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data in an image that is otherwise sound
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _png_exif(file: IO[bytes]) -> bytes | None:
    """The EXIF data of a PNG file, which may stand before or after the pixels."""
    place = file.tell()
    try:
        file.seek(8)
        while len(start := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", start)
            if kind == b"eXIf" and length <= 1 << 20:
                return file.read(length)
            if kind == b"IEND":
                return None
            file.seek(length + 4, io.SEEK_CUR)
        return None
    finally:
        file.seek(place)


def _length(file: IO[bytes]) -> int:
    """Bytes in a file."""
    place = file.tell()
    try:
        return file.seek(0, os.SEEK_END)
    finally:
        file.seek(place)
