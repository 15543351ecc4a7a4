"""What a file or folder is that was named as a model and is none, told by its content, without running any of it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from elucidiff.untrusted import clipped, open_regular, printable

_LISTED = 4

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x93NUMPY", "an array (.npy)"),
    (b"GGUF", "quantised weights (GGUF)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "a compressed file (gzip)"),
    (b"version https://git-lfs", "a pointer of Git LFS, whose content was not fetched"),
)


def told(path: Path) -> str:
    """It in a few words, such as ``an empty folder`` or ``weights alone``."""
    return _folder(path) if path.is_dir() else _file(path)


def _folder(path: Path) -> str:
    if (path / "model" / "model.json").is_file():
        return f"the folder of a run: its model is {printable(str(path / 'model'))}"
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return "an empty folder"
    shown = ", ".join(clipped(name, 40) for name in names[:_LISTED])
    return f"a folder with {shown}{f' and {len(names) - _LISTED} more' if len(names) > _LISTED else ''}"


def _file(path: Path) -> str:
    with open_regular(path) as file:
        start = file.read(64)
    if not start:
        return "an empty file"
    for beginning, what in _BEGINNINGS:
        if start.startswith(beginning):
            return what
    if len(start) > 8 and start[8:9] == b"{":
        return _safetensors(path)
    if start[:2] == b"PK":
        return _archive(path)
    if start[:1] == b"\x80":
        return "a pickle, of which no reader knows the content"
    if path.suffix == ".onnx":
        return "a network in the format ONNX, whose weights cannot be asked for what they predict"
    if path.suffix == ".py":
        return f"Python code: name the function in it that makes the model, {printable(path.name)}:FUNCTION"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        return "a text"
    return "a file of an unknown kind"


def _safetensors(path: Path) -> str:
    try:
        with safe_open(path, "pt") as file:
            names = sorted(file.keys())
    except (SafetensorError, OSError, ValueError):
        return "a damaged file of safetensors"
    example = f", such as {clipped(names[0], 60)}" if names else ""
    return f"weights alone, {len(names)} tensors{example}"


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return "a damaged archive"
    if any(name.endswith("/data.pkl") for name in names):
        return "a PyTorch checkpoint, weights alone"
    return f"an archive of {len(names)} files"
