"""Samples as files: read as a user hands them in, and written with a sheet of all of them and a record."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.data.decoding import decode
from elucidiff.data.formats import SUFFIXES
from elucidiff.data.npy import read_npy
from elucidiff.data.scaling import to_uint8, to_unit
from elucidiff.denoisers.base import AnyDenoiser
from elucidiff.files import write_whole
from elucidiff.sampling.grid import of_8_bits
from elucidiff.sampling.jobs.outputs import encoded, png

_LEGIBLE = 64  # pixels: smaller pictures are enlarged in whole multiples, up to this


def write_picture(path: str | os.PathLike[str], image: npt.NDArray[np.uint8]) -> Path:
    """Write ``image`` (C, H, W) uint8 with 1, 3 or 4 channels as a PNG, whole or not at all."""
    return write_whole(path, png(image))


def write_sheet(path: str | os.PathLike[str], x: Tensor, columns: int, *, pictures: bool) -> None:
    """Write samples ``x`` (N, C, *spatial) as one PNG, in rows of ``columns``, small ones enlarged.

    Args:
        path: the file.
        x: the samples.
        columns: samples in a row.
        pictures: whether they are pictures in [-1, 1]. Else signals become lines, and what has more dimensions is
            shown by its central slices, on one scale of grey.
    """
    # Imported where they are used: matplotlib, and all that figures are drawn from, take a second.
    from elucidiff.figures.numbers import lines, slices
    from elucidiff.figures.style import mosaic, save

    if not pictures and x.ndim == 3:
        save(lines(x.double().cpu().numpy(), columns), path, formats=("png",))
        return
    images = to_uint8(x).cpu().numpy() if pictures else slices(x.double().cpu().numpy())
    write_picture(path, mosaic(images, columns, zoom=max(1, _LEGIBLE // max(images.shape[2:]))))


def write_samples(out: Path, names: Sequence[str], x: Tensor, *, pictures: bool) -> list[str]:
    """Write each sample to a file of its own.

    Args:
        out: the folder; made if missing.
        names: of the files, without suffix.
        x: samples (B, C, *spatial) on the CPU.
        pictures: whether they are pictures in [-1, 1]. Else each becomes a float32 ``.npy``.

    Returns:
        the names with their suffix.

    Raises:
        OSError: a file cannot be written.
    """
    files = [f"{name}{'.png' if pictures else '.npy'}" for name in names]
    for file, content in zip(files, encoded(x, pictures), strict=True):
        write_whole(out / file, content)
    return files


def write_account(
    out: Path, name: str, sheet: Tensor, columns: int, facts: Mapping[str, Any], *, pictures: bool
) -> None:
    """Write ``sheet.png`` with the samples ``sheet``, and then ``name`` with ``facts`` as JSON.

    Raises:
        OSError: a file cannot be written.
    """
    if sheet.ndim > 2:
        write_sheet(out / "sheet.png", sheet, columns, pictures=pictures)
    write_whole(out / name, json.dumps(dict(facts), indent=1) + "\n")


_BEYOND = 1e-3  # what rounding may add to [-1, 1]


def read_given(path: Path, denoiser: AnyDenoiser) -> Tensor:
    """Read a picture, or an ``.npy`` array (C, *spatial), as float64 in the units of the model; any size.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, has other channels or dimensions than the model's samples, or values that such a
            sample cannot have.
    """
    shape = denoiser.sample_shape
    if path.suffix.lower() == ".npy":
        stored = _array(path)
    elif path.suffix.lower() in SUFFIXES:
        with path.open("rb") as file:
            stored = torch.from_numpy(decode(file, str(path)).copy())  # Pillow may have kept it from being written to
        if not of_8_bits(denoiser):
            raise ValueError(
                f"{path} is an 8-bit picture, but the model's samples are not: give an .npy in its units"
            )
    else:
        raise ValueError(f"{path} is neither a picture ({', '.join(sorted(SUFFIXES))}) nor an .npy file")
    if stored.ndim != len(shape) or stored.shape[0] != shape[0]:
        raise ValueError(f"{path} has shape {tuple(stored.shape)}, but the model makes samples of shape {shape}")
    x = to_unit(stored).double()
    check_range_of_values(str(path), x, denoiser)
    return x


def check_range_of_values(what: str, x: Tensor, denoiser: AnyDenoiser) -> None:
    """Raise ValueError if ``x`` is not finite, or is beyond [-1, 1] for a model of 8-bit pictures."""
    if not bool(x.isfinite().all()):
        raise ValueError(f"{what} holds values that are not finite")
    low, high = float(x.min()), float(x.max())
    if of_8_bits(denoiser) and (low < -1 - _BEYOND or high > 1 + _BEYOND):
        raise ValueError(
            f"{what} goes from {low:g} to {high:g}, but the model's samples from -1 to 1: save it as uint8, or as "
            "x / 127.5 - 1"
        )


def _array(path: Path) -> Tensor:
    array = read_npy(path, str(path))
    if not isinstance(array, np.ndarray) or (array.dtype != np.uint8 and array.dtype.kind != "f"):
        raise ValueError(f"{path} must hold one array, uint8 or floating point")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
