"""A picture or array that a user hands in, as a model sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from elucidiff.data.decoding import decode
from elucidiff.data.formats import SUFFIXES
from elucidiff.data.npy import read_npy
from elucidiff.data.scaling import scaling_of
from elucidiff.denoisers.base import AnyDenoiser

_BEYOND = 1e-3  # what rounding may add to [-1, 1]


def read_given(path: Path, denoiser: AnyDenoiser) -> Tensor:
    """Read a picture, or an ``.npy`` array (C, *spatial) in the units of the data, as the model sees it; any size.

    The result is float64.

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
        if not scaling_of(denoiser).eight_bits:
            raise ValueError(
                f"{path} is an 8-bit picture, but the model's samples are not: give an .npy in the units of its data"
            )
    else:
        raise ValueError(f"{path} is neither a picture ({', '.join(sorted(SUFFIXES))}) nor an .npy file")
    if stored.ndim != len(shape) or stored.shape[0] != shape[0]:
        raise ValueError(f"{path} has shape {tuple(stored.shape)}, but the model makes samples of shape {shape}")
    x = scaling_of(denoiser).to_model(stored[None])[0].double()
    check_range_of_values(str(path), x, denoiser)
    return x


def check_range_of_values(what: str, x: Tensor, denoiser: AnyDenoiser) -> None:
    """Raise ValueError if ``x`` is not finite, or is beyond [-1, 1] for a model of 8-bit pictures."""
    if not bool(x.isfinite().all()):
        raise ValueError(f"{what} holds values that are not finite")
    low, high = float(x.min()), float(x.max())
    if scaling_of(denoiser).eight_bits and (low < -1 - _BEYOND or high > 1 + _BEYOND):
        raise ValueError(
            f"{what} goes from {low:g} to {high:g}, but the model's samples from -1 to 1: save it as uint8, or as "
            "x / 127.5 - 1"
        )


def read_mask(path: Path, sides: tuple[int, ...]) -> Tensor:
    """Read where a picture is white, or an ``.npy`` of booleans is true, (*sides).

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or of other sides.
    """
    if path.suffix.lower() == ".npy":
        array = read_npy(path, str(path))
        if not isinstance(array, np.ndarray) or array.dtype != np.bool_:
            raise ValueError(f"{path} must hold booleans, true where something is to be painted")
    else:
        with path.open("rb") as file:
            pixels = decode(file, str(path))
        colours = pixels[: 1 if len(pixels) < 3 else 3]  # without alpha
        array = colours.mean(0) >= 128
    if array.shape != sides:
        raise ValueError(f"the mask {path} has sides {array.shape}, but the picture has {sides}")
    return torch.from_numpy(np.ascontiguousarray(array))


def _array(path: Path) -> Tensor:
    array = read_npy(path, str(path))
    if not isinstance(array, np.ndarray) or (array.dtype != np.uint8 and array.dtype.kind != "f"):
        raise ValueError(f"{path} must hold one array, uint8 or floating point")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
