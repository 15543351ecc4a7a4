"""The formats of picture files: which are read, what they are called, and how they and others begin."""

from __future__ import annotations

import re

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "PPM", "TIFF", "AVIF", "JPEG2000")
"""The formats that Pillow may open, whatever a file is called: for PostScript, say, it would start Ghostscript."""

SUFFIXES = frozenset({
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".ppm", ".pgm", ".pbm",
    ".pnm", ".pfm", ".tif", ".tiff", ".avif", ".avifs", ".jp2", ".j2k",
})  # fmt: skip
"""The suffixes of such files, as a rule."""

HEAD_BYTES = 512
"""From the beginning of a file, enough for :func:`is_picture`."""

_SIGNATURES = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|II[*+]\0|MM\0[*+]|....ftypavi[fs]"
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"
    # These two begin with letters that a text may begin with, too.
    rb"|BM....\0\0\0\0.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0|P[1-6f](\s|#[^\n]*\n)+\d+\s+\d+\s",
    re.DOTALL,
)

# What is often among pictures, or called .jpg, and is not read.
_OTHERS = {
    "HEIC or HEIF": rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "PostScript": rb"%!PS|\xc5\xd0\xd3\xc6",
    "PDF": rb"%PDF",
    "Photoshop": rb"8BPS",
    "OpenEXR": rb"v/1\x01",
    "Radiance HDR": rb"#\?RADIANCE",
    "DirectDraw": rb"DDS ",
    "SVG": rb"\s*(<\?xml|<svg)",
    "HTML": rb"(?i)\s*(<!doctype html|<html)",
    "a video": rb"....ftyp(isom|mp4|avc1|M4V|qt  )|\x1aE\xdf\xa3|RIFF....AVI ",
}


def is_picture(head: bytes) -> bool:
    """True if a file that begins with ``head`` is in one of :data:`FORMATS`, as far as its signature tells."""
    return _SIGNATURES.match(head) is not None


def other_kind(head: bytes) -> str | None:
    """The kind of a file that begins with ``head``, of those that are not read; None if it is none of those known."""
    return next((name for name, start in _OTHERS.items() if re.match(start, head, re.DOTALL)), None)
