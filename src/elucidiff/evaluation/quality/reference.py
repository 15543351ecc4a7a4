"""References that images are compared with: the features of a data set, or a file of their mean and covariance.

Features are kept block by block, each as soon as it is there.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff import data
from elucidiff.data.dataset import Dataset, Fingerprint
from elucidiff.data.npy import read_arrays
from elucidiff.evaluation.frechet import Gaussian
from elucidiff.evaluation.quality.extractors import Extractor, Features
from elucidiff.files import sha256, write_whole
from elucidiff.untrusted import open_regular, reading

Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class BlockStore:
    """Arrays by the name of their block, each block a ``.npz`` file that is there whole or not at all.

    Args:
        folder: where; made when the first block is written. All blocks in it were computed in the same way, so it is
            all right if several processes write the same.
    """

    folder: Path

    def read(self, name: str) -> dict[str, npt.NDArray[np.generic]] | None:
        """A block; None if it is not there or damaged (its checksum, which the format has, does not fit)."""
        try:
            return dict(read_arrays(self._path(name)))
        except (FileNotFoundError, ValueError):
            return None

    def has(self, name: str) -> bool:
        """True if there is a block of that name, though it may be damaged."""
        return self._path(name).exists()

    def write(self, name: str, arrays: Arrays) -> None:
        """Keep a block.

        Raises:
            OSError: it cannot be written.
        """
        write_arrays(self._path(name), arrays)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write a ``.npz`` file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """

    def fill(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    write_whole(path, fill)


IMAGES_IN_A_BLOCK = 128

Tick = Callable[[int], object]
"""Called with the number of images that were described since; may raise to end the work."""


class Images(Protocol):
    """Images that are asked for a block at a time."""

    def __len__(self) -> int: ...

    def block(self, places: range) -> tuple[Tensor, npt.NDArray[np.float64]]:
        """Images (B, C, *spatial) as the extractor takes them, and the cost of each (B,)."""
        ...

    def name(self, places: range) -> str:
        """The name of the file of a block; it says which images of the stream it is of."""
        ...


@dataclass(frozen=True)
class OfDataset:
    """The images of a data set."""

    dataset: Dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def block(self, places: range) -> tuple[Tensor, npt.NDArray[np.float64]]:
        """See :class:`Images`. They cost nothing."""
        return self.dataset.images(places), np.zeros(len(places))

    def name(self, places: range) -> str:
        """See :class:`Images`."""
        return block_name(places)


@dataclass(frozen=True, eq=False)
class Extracted:
    """Features and cost, as :func:`extract_features` found them.

    Attributes:
        features: of each image, (n, D).
        cost: network evaluations that each took, (n,); 0 for images that were there.
    """

    features: Features
    cost: npt.NDArray[np.float64]


def extract_features(
    images: Images, extractor: Extractor, store: BlockStore, tick: Tick = lambda _: None
) -> Extracted:
    """Features of all images, reading from ``store`` what is there, and keeping there what is not.

    Blocks begin and end at fixed places, and batches with them, so that the features are the same to the last bit
    whether they are computed in one go or not.

    Raises:
        OSError: an image cannot be read, or a block not written.
        ValueError: an image is damaged, or the extractor cannot describe it.
    """
    rows: list[Features] = []
    cost: list[npt.NDArray[np.float64]] = []
    for places in blocks(len(images), extractor.batch_size):
        name = images.name(places)
        found = store.read(name)
        if found is None or set(found) != {"rows", "cost"} or len(found["rows"]) != len(places):
            pixels, spent = images.block(places)
            found = {"rows": extractor(pixels), "cost": spent}
            store.write(name, found)
        rows.append(found["rows"])
        cost.append(found["cost"].astype(np.float64))
        tick(len(places))
    return Extracted(np.concatenate(rows), np.concatenate(cost))


def block_name(places: range) -> str:
    """The name of the file of a block of a data set."""
    return f"{places.start}-{places.stop - 1}"


def blocks(count: int, batch_size: int) -> Iterator[range]:
    """The places of each block: whole batches, about 128 images."""
    size = max(1, IMAGES_IN_A_BLOCK // batch_size) * batch_size
    return (range(start, min(start + size, count)) for start in range(0, count, size))


STATISTICS = "statistics.npz"

_ASYMMETRY = 1e-6  # of the largest entry; NVlabs' files are symmetric to about 1e-12


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference, described by one extractor.

    Attributes:
        name: of the data set or file.
        sha256: of its images, or of the file.
        gaussian: mean and covariance of the features.
        extractor: id of what made the features; None if the file does not tell.
        count: number of images; None if the file does not tell.
        shape: of an image; None if the file does not tell.
        dtype: of the images, likewise.
        store: the features themselves, in blocks, where there are any.
        batch_size: by which they were cut into blocks.

    >>> import elucidiff as ed
    >>> digits = ed.data.open("digits")
    >>> reference = ed.evaluation.open_reference(digits, ed.evaluation.principal_components(digits, 5))
    >>> reference.name, reference.count, reference.gaussian.mean.shape
    ('digits', 1797, (5,))
    """

    name: str
    sha256: str
    gaussian: Gaussian
    extractor: str | None
    count: int | None
    shape: tuple[int, ...] | None
    dtype: torch.dtype | None
    store: BlockStore | None = None
    batch_size: int = 0

    @property
    def id(self) -> str:
        """Name and the first eight digits of the checksum."""
        return f"{self.name}-{self.sha256[:8]}"

    @cached_property
    def features(self) -> Features | None:
        """The features of each image, read when they are first needed; None for a file of statistics.

        Raises:
            ValueError: they are no longer there.
        """
        if self.store is None or self.count is None:
            return None
        rows = []
        for places in blocks(self.count, self.batch_size):
            found = self.store.read(block_name(places))
            if found is None:
                raise ValueError(f"features in {self.store.folder} are damaged: delete it, and run this again")
            rows.append(found["rows"])
        return np.concatenate(rows)


def open_reference(
    source: str | os.PathLike[str] | Dataset,
    extractor: Extractor,
    *,
    cache: Path | None = None,
    tick: Tick = lambda _: None,
) -> Reference:
    """Describe a data set, or read a file of statistics.

    Features and statistics of a data set are kept in ``cache`` under a checksum of its images and what made the
    features, so they are computed once, and a computation that was stopped goes on.

    Args:
        source: a data set; its name or path, as for :func:`elucidiff.data.open`; or a ``.npz`` file with ``mu`` and
            ``sigma``, as NVlabs publishes them.
        extractor: makes the features.
        cache: folder; by default ``evaluation`` in the folder of named data sets.
        tick: called with the number of images described since; may raise to end the work.

    Raises:
        OSError: something cannot be read or written.
        ValueError: the data are not what the extractor takes, or the file is damaged or of another extractor.

    >>> import elucidiff as ed
    >>> digits = ed.data.open("digits")
    >>> reference = ed.evaluation.open_reference(digits, ed.evaluation.principal_components(digits, 5))
    >>> bool(abs(reference.gaussian.mean).max() < 1e-6), reference.gaussian.covariance.shape
    (True, (5, 5))
    """
    if not isinstance(source, Dataset):
        path = Path(source).expanduser()
        if holds_statistics(path):
            return read_statistics(path, extractor)
        source = data.open(source)
    extractor = extractor.features_only()
    extractor.check(source.shape, source.dtype)
    fingerprint = source.without_labels().without_conditions().verify()
    store = kept_features(fingerprint, extractor, cache)
    facts: dict[str, Any] = {
        "name": source.name,
        "sha256": fingerprint.sha256,
        "extractor": extractor.id,
        "count": len(source),
        "shape": source.shape,
        "dtype": source.dtype,
        "store": store,
        "batch_size": extractor.batch_size,
    }
    if all(store.has(block_name(places)) for places in blocks(len(source), extractor.batch_size)):
        try:
            known = read_statistics(store.folder / STATISTICS, extractor)
            return Reference(gaussian=known.gaussian, **facts)
        except (FileNotFoundError, ValueError):
            pass  # not written yet, or damaged: from the features they are there at once
    rows = extract_features(OfDataset(source), extractor, store, tick).features
    found = Reference(gaussian=Gaussian.of(rows), **facts)
    write_statistics(store.folder / STATISTICS, found)
    return found


def kept_features(fingerprint: Fingerprint, extractor: Extractor, cache: Path | None = None) -> BlockStore:
    """The store of a data set's features.

    Args:
        fingerprint: of the data set without its labels.
        extractor: makes the features.
        cache: as for :func:`open_reference`.
    """
    root = data.data_root() / "evaluation" if cache is None else cache
    shape = "x".join(map(str, fingerprint.shape))  # the checksum is of the values alone
    return BlockStore(root / extractor.key / f"{fingerprint.sha256[:32]}-{shape}")


def is_statistics(path: Path) -> bool:
    """True if a ``.npz`` file holds statistics rather than images, or is damaged so that nobody can tell."""
    try:
        with reading(path), open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return {"mu.npy", "sigma.npy"} <= set(archive.namelist())
    except ValueError:
        return True


def holds_statistics(reference: str | os.PathLike[str]) -> bool:
    """True if a reference is a file of mean and covariance, not of images."""
    path = Path(reference).expanduser()
    return path.suffix.lower() == ".npz" and path.is_file() and is_statistics(path)


def read_statistics(path: Path, extractor: Extractor) -> Reference:
    """Read ``mu`` (D,) and ``sigma`` (D, D) from a ``.npz`` file. Nothing is unpickled.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or of another extractor.
    """
    with reading(path, "is damaged, or holds no mu (D,) and sigma (D, D)"):
        arrays = read_arrays(path)
        mu, sigma = arrays["mu"].astype(np.float64), arrays["sigma"].astype(np.float64)
        known = {key: str(arrays[key]) for key in ("extractor", "count") if key in arrays}
        gaussian = Gaussian.checked(mu, sigma)
        count = int(known["count"]) if "count" in known else None
    scale = float(np.abs(sigma).max(initial=0.0))
    if np.abs(sigma - sigma.T).max(initial=0.0) > _ASYMMETRY * scale or (np.diag(sigma) < 0).any():
        raise ValueError(f"{path} is damaged: sigma is not a covariance matrix")
    made_by = known.get("extractor")
    if mu.size != extractor.dim or made_by not in (None, extractor.id):
        theirs = made_by or "another extractor"
        raise ValueError(
            f"{path} holds statistics of {mu.size} features of {theirs}, but {extractor.id} makes {extractor.dim}: "
            "choose the extractor that they were made with"
        )
    return Reference(path.name, sha256(path), gaussian, made_by, count, None, None)


def write_statistics(path: Path, reference: Reference) -> None:
    """Write mean and covariance as NVlabs' files have them, and with them which extractor made them of how many.

    Raises:
        OSError: the file cannot be written.
    """
    facts = {"extractor": reference.extractor, "count": reference.count}
    arrays = {"mu": reference.gaussian.mean, "sigma": reference.gaussian.covariance}
    arrays |= {name: np.array(value) for name, value in facts.items() if value is not None}
    write_arrays(path, arrays)
