"""Import pictures as latents: encoded once, so that training need not do it again and again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import elucidiff
from elucidiff import parts
from elucidiff.autoencoders import Autoencoder, KeptAutoencoder, latent_shape, open_autoencoder
from elucidiff.data.finding import find
from elucidiff.data.fitting import Conversion, Crop
from elucidiff.data.images import ImageFiles
from elucidiff.data.imported import FORMAT, PICTURES, VERSION, is_imported, open_imported, read_meta
from elucidiff.data.importing import Imported, Progress, array_digest, import_dataset
from elucidiff.data.partial import Item, PartialImport, partial_folder
from elucidiff.data.reading import AS_USUAL, Reading
from elucidiff.data.scaling import to_unit
from elucidiff.data.sources import Contents

_TO_TRY = 8
_BATCH = 8


def import_latents(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    autoencoder: str | os.PathLike[str] | Autoencoder,
    *,
    sampled: bool = False,
    batch_size: int = _BATCH,
    progress: Progress | None = None,
    **conversion: Any,
) -> Imported:
    """Import a data set of pictures as latents z = E(x) of an autoencoder.

    The folder holds latents in ``images.npy``, float32 ``(N, c, *small)`` in the autoencoder's own units, with labels
    and ``meta.json`` as any imported set; the pictures, which stay the reference of evaluations, as an imported set
    in ``pictures``, unless ``source`` is one by itself, whose place is then kept; and the autoencoder, if it is small
    (see :class:`.KeptAutoencoder`). An import that was stopped goes on where it was.

    Args:
        source: name or path, as for :func:`elucidiff.data.open`.
        out: the folder to make.
        autoencoder: as for :func:`elucidiff.autoencoders.open_autoencoder`.
        sampled: draw each latent from the distribution that the encoder gives, once, instead of taking its mean.
        batch_size: pictures in one call of the encoder.
        progress: as for :func:`import_dataset`, with the stage "encoding", too.
        conversion: what :func:`import_dataset` is given for the pictures, such as ``resize``.

    Raises:
        OSError: a file cannot be read, or the folder cannot be written.
        ValueError: the autoencoder does not take such pictures, gives no distribution to draw from, or what
            :func:`import_dataset` refuses.

    >>> import elucidiff as ed, tempfile, torch
    >>> from dataclasses import dataclass
    >>> @ed.part("autoencoder", "example_halved")
    ... @dataclass(frozen=True)
    ... class Halved(ed.autoencoders.Autoencoder):
    ...     "Means of 2 x 2 pixels."
    ...     def encode(self, images):
    ...         return torch.nn.functional.avg_pool2d(images, 2)
    ...     def decode(self, latents):
    ...         return torch.nn.functional.interpolate(latents, scale_factor=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = ed.data.import_latents("digits", f"{folder}/latents", Halved())
    ...     dataset = ed.data.open(made.folder)
    ...     pictures = dataset.autoencoder.decode(dataset.images([0]))
    ...
    >>> dataset.shape, tuple(pictures.shape)
    ((1, 4, 4), (1, 1, 8, 8))
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, but must be at least 1")
    if conversion.get("condition"):
        raise ValueError("latents are imported without conditions: leave --condition out, or train on the pixels")
    coder, out = open_autoencoder(autoencoder), Path(out).expanduser()
    place = Path(source).expanduser()
    if place.resolve() == out.resolve():
        raise ValueError(f"{out} cannot be made of itself: choose another folder")
    if is_imported(place) and not _changes(**conversion):
        pictures, inside = place.resolve(), False
    else:
        if out.exists() and not is_imported(out) and any(out.iterdir()):
            raise FileExistsError(f"{out} exists and is not an imported data set: choose another folder")
        latent_shape(coder, _first_shape(source, **conversion))
        home = out if is_imported(out) else partial_folder(out)
        made = import_dataset(source, home / PICTURES, progress=progress, **conversion)
        pictures, inside = made.folder, True
    contents = open_imported(pictures)
    shape = contents.source.shape
    if contents.originals is not None or contents.source.dtype != np.uint8:
        raise ValueError(
            f"{contents.name} holds {contents.source.dtype} arrays {shape}: only 8-bit pictures are encoded"
        )
    if contents.conditions is not None:
        raise ValueError(f"{contents.name} has conditions, and latents are imported without: name the pictures alone")
    small = latent_shape(coder, shape)
    coder = coder.suited_to(_unit(contents, range(min(_TO_TRY, len(contents.source)))))
    if sampled and coder.posterior(torch.zeros(1, *shape))[1] is None:
        raise ValueError("this autoencoder gives one latent of a picture, and no distribution: leave --sampled out")
    key = _key(coder, contents, sampled)
    if is_imported(out):
        return _again(out, key)
    kept = KeptAutoencoder.of(coder, shape, sampled=sampled)
    with PartialImport(out, key, small, np.dtype(np.float32), len(contents.source)) as partial:
        partial.check_source(array_digest(contents.source.read(np.array([row]))[0]) for row in range(partial.done))
        for items in _encoded(contents, coder, partial.done, sampled, batch_size):
            partial.append(items)
            if progress is not None:
                progress("encoding", partial.done, len(contents.source))
        kept.keep(partial_folder(out))
        said = read_meta(pictures)
        meta = {
            **{name: said[name] for name in ("count", "label_dim", "class_names", "skipped", "enlarged", "notes")},
            "format": FORMAT,
            "version": VERSION,
            "name": out.name,
            "shape": small,
            "dtype": "float32",
            "latents": {
                "autoencoder": parts.to_plain(kept),
                "pictures": PICTURES if inside else str(pictures),
                "sha256_pictures": said["sha256"],
            },
            "provenance": {
                "source": str(source),
                "settings": {name: value for name, value in conversion.items() if isinstance(value, int | str)},
                "elucidiff": elucidiff.__version__,
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        }
        partial.finish(contents.labels, meta)
    return _again(out, key)


def _first_shape(
    source: str | os.PathLike[str],
    resize: int | tuple[int, int] | None = None,
    crop: Crop = "centre",
    channels: int | None = None,
    reading: Reading | None = None,
    **_: object,
) -> tuple[int, ...]:
    """The shape that the first picture will have: so what cannot be encoded is refused before all are imported."""
    found = find(source, alike=False, reading=reading or AS_USUAL).source
    shape = found.header(0) if isinstance(found, ImageFiles) else found.shape
    return Conversion((resize, resize) if isinstance(resize, int) else resize, crop, channels).result_shape(shape)


def _changes(
    resize: object = None,
    channels: object = None,
    skip_broken: bool = False,
    reading: Reading | None = None,
    **_: object,
) -> bool:
    """True if pictures are to be changed, or read in another way than the usual one."""
    return resize is not None or channels is not None or skip_broken or bool(reading and reading.changed())


def _key(coder: Autoencoder, contents: Contents, sampled: bool) -> str:
    said = json.dumps([VERSION, coder.fingerprint(), sampled, contents.sha256, len(contents.source)])
    return hashlib.sha256(said.encode()).hexdigest()


def _again(out: Path, key: str) -> Imported:
    meta = read_meta(out)
    if meta["key"] != key:
        raise FileExistsError(f"{out} holds other data, or was encoded otherwise: choose another folder")
    return Imported.of(out, meta)


def _unit(contents: Contents, rows: range) -> Tensor:
    return to_unit(torch.from_numpy(contents.source.read(np.array(rows))))


def _encoded(contents: Contents, coder: Autoencoder, done: int, sampled: bool, size: int) -> Iterator[list[Item]]:
    """Latents from position ``done`` on, a batch at a time, with digests of the pictures."""
    total = len(contents.source)
    for start in range(done, total, size):
        rows = range(start, min(start + size, total))
        images = contents.source.read(np.array(rows))
        mean, std = coder.posterior(to_unit(torch.from_numpy(images)))
        if sampled and std is not None:
            mean = mean + std * torch.stack([_noise(row, mean.shape[1:]) for row in rows])
        if not bool(mean.isfinite().all()):
            raise ValueError(
                f"the encoder makes values that are not finite of one of the pictures {start} to {rows[-1]}"
            )
        yield [(latent, array_digest(image)) for latent, image in zip(mean.float().numpy(), images, strict=True)]


def _noise(row: int, shape: tuple[int, ...]) -> Tensor:
    """Unit noise of a picture: a function of its position alone, so that an import goes on as it began."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(row))
