"""What images are compared with: the features of a data set, or their mean and covariance from a file."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elucidiff import data
from elucidiff.data.dataset import Dataset, Fingerprint
from elucidiff.data.npy import read_arrays
from elucidiff.evaluation.frechet import Gaussian
from elucidiff.evaluation.quality.extractors import Extractor, Rows
from elucidiff.evaluation.quality.features import (
    BlockStore,
    OfDataset,
    Tick,
    block_name,
    blocks,
    describe,
    write_arrays,
)
from elucidiff.files import sha256
from elucidiff.untrusted import open_regular, reading

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
    def rows(self) -> Rows | None:
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
    fingerprint = source.without_labels().verify()
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
    rows = describe(OfDataset(source), extractor, store, tick).rows
    found = Reference(gaussian=Gaussian.of(rows), **facts)
    write_statistics(store.folder / STATISTICS, found)
    return found


def kept_features(fingerprint: Fingerprint, extractor: Extractor, cache: Path | None = None) -> BlockStore:
    """Where features of a data set are kept.

    Args:
        fingerprint: of the data set without its labels.
        extractor: makes the features.
        cache: as for :func:`open_reference`.
    """
    root = data.data_root() / "evaluation" if cache is None else cache
    shape = "x".join(map(str, fingerprint.shape))  # the checksum is of the values alone
    return BlockStore(root / extractor.key / f"{fingerprint.sha256[:32]}-{shape}")


def is_statistics(path: Path) -> bool:
    """Whether a ``.npz`` file holds statistics rather than images, or is damaged so that nobody can tell."""
    try:
        with reading(path), open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return {"mu.npy", "sigma.npy"} <= set(archive.namelist())
    except ValueError:
        return True


def holds_statistics(reference: str | os.PathLike[str]) -> bool:
    """Whether a reference is a file of mean and covariance, not of images."""
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
