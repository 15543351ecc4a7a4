"""Data sets that are known by name."""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from elucidiff.data.arrays import in_memory, joined, label_each
from elucidiff.data.interpreting import as_images
from elucidiff.data.labels import Labels
from elucidiff.data.reading import AS_USUAL, Reading
from elucidiff.data.sources import ArraySource, Contents, Images
from elucidiff.untrusted import open_regular, printable, reading

# The third byte: the type of the values, which are big-endian.
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PARTS = {"train": "train", "t10k": "test", "test": "test", "val": "val", "valid": "val"}
_NAME = re.compile(r"(?:(.*)[-_.])?(train|t10k|test|val|valid)[-_.](images?|labels?)[-_.]idx\d[-_.]ubyte(?:\.gz)?")
_MOST_AXES = 16
# Pictures of digits shrink to a fifth; more than this, and large, is meant to fill the memory.
_ALWAYS_UNPACKED = 1 << 28
_MOST_PACKED = 64


def is_idx(path: Path) -> bool:
    """True if a file begins as an idx file does, gzipped or not."""
    try:
        with open_regular(path) as file, _unpacked(file) as content:
            return _is_header(content.read(4))
    except (OSError, EOFError, ValueError, zlib.error):
        return False


def read_idx(path: Path) -> Images:
    """Read an idx file, gzipped or not.

    The file is two zero bytes, the type of the values (8 for bytes), the number of axes, the length of each axis as a
    big-endian 32-bit integer, and the values.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is truncated or not an idx file.
    """
    where = printable(str(path))
    with reading(path), open_regular(path) as file, _unpacked(file) as content:
        header = content.read(4)
        lengths = content.read(4 * header[3]) if _is_header(header) else b""
        if not lengths or len(lengths) < 4 * header[3]:
            raise ValueError(f"{where} is not an idx file of numbers")
        dtype, shape = np.dtype(_TYPES[header[2]]), tuple(np.frombuffer(lengths, ">u4").tolist())
        size = math.prod(shape) * dtype.itemsize
        most = max(_ALWAYS_UNPACKED, _MOST_PACKED * os.fstat(file.fileno()).st_size)
        # Looked at before memory is asked for.
        values = content.read(size + 1) if size <= most else b""
        if len(values) != size:
            found = f"{len(values) // dtype.itemsize}" if len(values) < size <= most else "another number of"
            raise ValueError(f"{where} has {found} values, but its header says {shape}: fetch it again")
    return np.frombuffer(values, dtype).reshape(shape)


def _is_header(header: bytes) -> bool:
    return len(header) == 4 and header[:2] == b"\0\0" and header[2] in _TYPES and 1 <= header[3] <= _MOST_AXES


def _unpacked(file: IO[bytes]) -> Any:
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if packed else file


def idx_files(folder: Path, part: str) -> tuple[Path, Path | None] | None:
    """The files of images and of labels of a part ("train", "test" or "val") in a folder; None if it has no images.

    Raises:
        ValueError: there are several sets.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = _NAME.fullmatch(path.name)
        if name and _PARTS[name[2]] == part:
            # Of a file that is there packed and unpacked, the unpacked one comes first.
            found.setdefault(name[1] or "", {}).setdefault(name[3].removesuffix("s"), path)
    sets = {key: files for key, files in found.items() if "image" in files}
    if not sets:
        return None
    if len(sets) > 1:
        listed = ", ".join(printable(files["image"].name) for files in sets.values())
        raise ValueError(f"{printable(str(folder))} holds several sets: give one of the files {listed}")
    files = next(iter(sets.values()))
    return files["image"], files.get("label")


def read_images_and_labels(files: tuple[Path, Path | None]) -> tuple[Images, Images | None]:
    """Images ``(N, 1, H, W)`` and classes ``(N,)``.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, or the two do not fit.
    """
    images = read_idx(files[0])
    if images.ndim < 3:
        raise ValueError(f"{printable(str(files[0]))} has {images.ndim} axes, but pictures have at least 3")
    if files[1] is None:
        return images[:, None] if images.ndim == 3 else images, None
    labels = read_idx(files[1])
    if labels.ndim != 1:
        raise ValueError(f"{printable(str(files[1]))} has {labels.ndim} axes, but labels have 1")
    if len(images) != len(labels):
        raise ValueError(f"{printable(str(files[1]))}: there are {len(labels)} labels for {len(images)} images")
    return images[:, None] if images.ndim == 3 else images, labels


def open_idx(path: Path, part: str | None, chosen: Reading) -> Contents:
    """An idx file of images by itself, with the labels that lie beside it under the usual name.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or no images.
    """
    where = printable(str(path))
    if part is not None:
        raise ValueError(f"{where} has no part {part!r}: give its name alone")
    chosen.refuse(where, "image_column", "label_column")
    beside = None
    if (name := _NAME.fullmatch(path.name)) and chosen.labels_from != "none":
        others = (other for other in sorted(path.parent.iterdir()) if (found := _NAME.fullmatch(other.name)))
        for other in others:
            found = _NAME.fullmatch(other.name)
            if found and (found[1], found[2]) == (name[1], name[2]) and found[3].startswith("label"):
                beside = beside or other
    images, labels = read_images_and_labels((path, beside))
    source, notes = as_images(ArraySource(images), where, chosen)
    if beside is not None:
        notes = (f"{where}: labels are read from {printable(beside.name)}", *notes)
    found_labels = None if labels is None else label_each(labels, len(images), where)
    return Contents(path.name.split(".")[0], source, found_labels, notes=notes)


PARTS = {"train": ("train",), "test": ("test",), "val": ("val",), "all": ("train", "test")}
"""The words that can follow a name after a colon, and the parts of a standard data set that they mean."""

ImagesAndLabels = tuple[npt.NDArray[Any], npt.NDArray[Any]]

_CLOTHES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_DIGITS = tuple(str(digit) for digit in range(10))
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Downloadable:
    """A data set that torchvision knows how to fetch.

    Attributes:
        torchvision: name of its class in ``torchvision.datasets``.
        folders: where below a data root its files may lie: the first is where torchvision puts them.
        advice: how to fetch it by hand, with ``{root}`` for the data root.
        read: reads "train" or "test" from one of the folders; None if it is not there.
        class_names: of the labels.
        elsewhere: folders beyond the data root.
    """

    torchvision: str
    folders: tuple[str, ...]
    advice: str
    read: Callable[[Downloadable, Path, str], ImagesAndLabels | None]
    class_names: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()


def data_root() -> Path:
    """The folder of named data sets: ``$ELUCIDIFF_DATA``, else ``~/.cache/elucidiff``.

    >>> import elucidiff as ed
    >>> import os
    >>> os.environ["ELUCIDIFF_DATA"] = "/data/images"
    >>> str(ed.data.data_root())
    '/data/images'
    >>> del os.environ["ELUCIDIFF_DATA"]
    """
    return Path(os.environ.get("ELUCIDIFF_DATA") or "~/.cache/elucidiff").expanduser()


def open_digits(part: str | None) -> Contents:
    """scikit-learn's 1797 handwritten digits (Alpaydin and Kaynak 1998), ``(1, 8, 8)``, ten classes.

    The values v = 0..16 become floor((255 v + 8) / 16), which is 255 v / 16 rounded, halves up, so 0 is 0, 8 is
    128 and 16 is 255.
    """
    if part is not None:
        raise ValueError(f"the data set digits has no part {part!r}: give its name alone")
    from sklearn.datasets import load_digits

    found = load_digits()
    values = found.images.astype(np.int64)[:, None]
    return in_memory("digits", ((values * 255 + 8) // 16).astype(np.uint8), found.target, _DIGITS)


def open_downloadable(name: str, part: str | None) -> Contents:
    """MNIST and the like: read where they lie, else fetched.

    Raises:
        FileNotFoundError: the files are nowhere and cannot be fetched; the message says what to put where.
        ValueError: files are damaged.
    """
    if part == "val":
        raise ValueError(f"the data set {name} has no part {part!r}: its parts are train, test and all")
    known = DOWNLOADABLE[name]
    root = data_root()
    folders = [root / folder for folder in known.folders] + [Path(folder) for folder in known.elsewhere]
    pieces = [_find(known, folders, piece) for piece in PARTS[part or "train"]]
    if any(piece is None for piece in pieces):
        _download(name, known, root)
        pieces = [_find(known, folders, piece) for piece in PARTS[part or "train"]]
    found = [piece for piece in pieces if piece is not None]
    return _joined(name if part in (None, "train") else f"{name}:{part}", found, known.class_names)


def open_idx_folder(folder: Path, part: str | None, reading: Reading = AS_USUAL) -> Contents | None:
    """A folder with idx files under their usual names, as MNIST comes; None if it has none.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, or files do not fit.
    """
    there = {piece: files for piece in ("train", "test", "val") if (files := idx_files(folder, piece)) is not None}
    if not there:
        return None
    where = printable(str(folder))
    wanted = PARTS[part] if part else tuple(there)[:1]
    missing = [piece for piece in wanted if piece not in there]
    if missing:
        raise ValueError(f"{where} has no idx files of the part {missing[0]}: it has {', '.join(there)}")
    pieces = [read_images_and_labels(there[piece]) for piece in wanted]
    stored = joined([ArraySource(images) for images, _ in pieces], where)
    source, notes = as_images(stored, where, reading)
    labels = None if reading.labels_from == "none" else _labels_of(pieces, where)
    return Contents(folder.name, source, labels, notes=notes)


def _labels_of(pieces: list[tuple[npt.NDArray[Any], npt.NDArray[Any] | None]], where: str) -> Labels | None:
    given = [labels for _, labels in pieces if labels is not None]
    if not given:
        return None
    if len(given) < len(pieces):
        raise ValueError(f"{where}: only some of its parts have labels: open them one by one")
    return label_each(np.concatenate(given), sum(map(len, given)), where)


def _joined(name: str, pieces: list[ImagesAndLabels], class_names: tuple[str, ...]) -> Contents:
    # A single piece is used where it lies in memory.
    images = pieces[0][0] if len(pieces) == 1 else np.concatenate([images for images, _ in pieces])
    return in_memory(name, images, np.concatenate([labels for _, labels in pieces]), class_names)


def _find(known: Downloadable, folders: list[Path], part: str) -> ImagesAndLabels | None:
    for folder in folders:
        found = known.read(known, folder, part)
        if found is not None:
            return found
    return None


def _read_idx(known: Downloadable, folder: Path, part: str) -> ImagesAndLabels | None:
    files = idx_files(folder, part)
    if files is None or files[1] is None:
        return None
    images, labels = read_images_and_labels(files)
    assert labels is not None
    return images, labels


def _read_cifar(known: Downloadable, folder: Path, part: str) -> ImagesAndLabels | None:
    if not folder.is_dir():
        return None
    import torchvision

    # The files are pickles. torchvision opens them only if their MD5 sums are those of the published ones.
    try:
        found = getattr(torchvision.datasets, known.torchvision)(folder.parent, train=part == "train")
    except RuntimeError:
        raise ValueError(
            f"{folder} does not hold the published files (MD5 sums differ), so they were not opened: remove it, and"
            f" {known.advice.format(root=folder.parent)}"
        ) from None
    return np.ascontiguousarray(found.data.transpose(0, 3, 1, 2)), np.array(found.targets)


def _download(name: str, known: Downloadable, root: Path) -> None:
    from torchvision import datasets

    try:
        # torchvision reports its attempts on standard output.
        with contextlib.redirect_stdout(io.StringIO()):
            getattr(datasets, known.torchvision)(root, download=True)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"{name} is not on this machine and could not be fetched ({reason}): {known.advice.format(root=root)},"
            f" or set ELUCIDIFF_DATA to where you have it"
        ) from None


_IDX_FILES = "{{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte.gz"
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz"

DOWNLOADABLE = {
    "mnist": Downloadable(
        torchvision="MNIST",
        folders=("MNIST/raw", "mnist"),
        advice=f"put {_IDX_FILES} from https://ossci-datasets.s3.amazonaws.com/mnist/ into {{root}}/mnist",
        read=_read_idx,
        class_names=_DIGITS,
    ),
    "fashion-mnist": Downloadable(
        torchvision="FashionMNIST",
        folders=("FashionMNIST/raw", "fashion-mnist"),
        advice=f"put {_IDX_FILES} from https://github.com/zalandoresearch/fashion-mnist into {{root}}/fashion-mnist",
        read=_read_idx,
        class_names=_CLOTHES,
        elsewhere=("/usr/share/datasets/fashion-mnist",),  # Debian's package dataset-fashion-mnist
    ),
    "cifar10": Downloadable(
        torchvision="CIFAR10",
        folders=("cifar-10-batches-py",),
        advice=f"unpack {_CIFAR_URL}/cifar-10-python.tar.gz in {{root}}",
        read=_read_cifar,
        class_names=_CIFAR10,
    ),
    "cifar100": Downloadable(
        torchvision="CIFAR100",
        folders=("cifar-100-python",),
        advice=f"unpack {_CIFAR_URL}/cifar-100-python.tar.gz in {{root}}",
        read=_read_cifar,
    ),
}

NAMES = ("digits", *DOWNLOADABLE)
"""The data sets that are known by name."""
