"""From the values of a data set to what a denoiser sees, and back: the one seam between both.

A data set holds values in its owner's units: 8-bit levels, kelvin, millivolts. A denoiser sees them scaled, so that
noise levels mean the same in every channel. A :class:`Scaling` takes values either way::

    scaling = ed.data.scaling_of(denoiser)         # what the model was trained with
    x = scaling.to_model(dataset.images([0, 1]))   # float32, what the denoiser sees
    fields = scaling.to_data(x)                    # in the data's own type and units

Whoever reads data for a model, or shows or writes what one made, asks it and does no arithmetic of its own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.data.dataset import Dataset
from elucidiff.data.moments import Moments
from elucidiff.denoisers.base import AnyDenoiser
from elucidiff.devices import widest_type
from elucidiff.parts import part

__all__ = [
    "AsStored",
    "Pixels",
    "Scaling",
    "Transparent",
    "has_alpha",
    "is_picture",
    "scaling_of",
    "to_uint8",
    "to_unit",
]

_VALUES_AT_ONCE = 1 << 22


def is_picture(shape: Sequence[int]) -> bool:
    """True if samples of ``shape`` (C, *spatial) can be shown as they are: two dimensions, grey, RGB or RGBA."""
    return len(shape) == 3 and shape[0] in (1, 3, 4)


def has_alpha(shape: Sequence[int], dtype: torch.dtype) -> bool:
    """True if images of ``shape`` (C, H, W) have an alpha channel, their last: 8-bit grey with alpha, or RGBA."""
    return dtype == torch.uint8 and len(shape) == 3 and shape[0] in (2, 4)


def to_unit(images: Tensor) -> Tensor:
    """Images as float32 in the units of the noise levels.

    8-bit images become x / 127.5 - 1, in [-1, 1], the range that sigma_data = 0.5 of Karras et al. 2022 (Table 1)
    refers to. Floating-point data keep their values; a :class:`Scaling` brings them to the units of a model.

    Args:
        images: uint8 or floating point, any shape.

    Returns:
        float32, of the same shape and on the same device.

    Raises:
        ValueError: ``images`` are neither uint8 nor floating point.

    >>> import torch
    >>> import elucidiff as ed
    >>> ed.data.to_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [-1.0, 1.0]
    """
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(127.5).sub_(1)
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}, but must be uint8 (0..255) or floating point")
    return images.to(torch.float32)


def to_uint8(x: Tensor) -> Tensor:
    """Images in [-1, 1] as 8-bit ones: 127.5 x + 128, clipped to [0, 255] and truncated; same shape.

    >>> import torch
    >>> import elucidiff as ed
    >>> ed.data.to_uint8(torch.tensor([-1.0, 1.0])).tolist()
    [0, 255]
    """
    return (x * 127.5 + 128).clip(0, 255).to(torch.uint8)


class Scaling(ABC):
    """An invertible function of every value, by channel, between data and what a denoiser sees.

    Where it depends on the data, it is chosen first (``Standard()``) and then :meth:`measured`; a model keeps the
    measured one in ``facts["data"]["scaling"]``, where :func:`scaling_of` finds it.

    >>> import elucidiff as ed, torch
    >>> fields = 280 + 10 * torch.randn(100, 1, 4, 4, generator=torch.Generator().manual_seed(0))  # kelvin
    >>> scaling = ed.data.Standard().measured(ed.data.Dataset.from_arrays(fields))
    >>> x = scaling.to_model(fields)
    >>> abs(float(x.mean())) < 1e-6, round(float(x.std()), 2)
    (True, 1.0)
    >>> bool((scaling.to_data(x) - fields).abs().max() < 1e-4)
    True
    """

    def measured(self, dataset: Dataset) -> Scaling:
        """This with what it takes from a training set: itself unless stated otherwise.

        Raises:
            ValueError: the data have no such scale: a channel is constant, or has values without a logarithm.
        """
        return self

    @abstractmethod
    def to_model(self, stored: Tensor) -> Tensor:
        """Values as a denoiser sees them, for values ``(B, C, *spatial)`` as the data set holds them.

        Returns:
            float32, of the same shape and on the same device; NaN where a value is missing.

        Raises:
            ValueError: they have another type or number of channels than those that were measured.
        """

    @abstractmethod
    def to_data(self, x: Tensor) -> Tensor:
        """Samples ``(B, C, *spatial)`` in the type and the units of the data: uint8, or float32."""

    @abstractmethod
    def log_slope(self, stored: Tensor) -> Tensor:
        """ln |det d to_model / d stored| of each image, float64 ``(B,)``: what a change of variables adds.

        ln p(stored) = ln p(to_model(stored)) + log_slope(stored). Missing values do not count.
        """

    @property
    def eight_bits(self) -> bool:
        """True if the data are 8-bit levels, which samples are rounded to."""
        return False

    @property
    def linear(self) -> bool:
        """True if a mean of values is scaled to the mean of the scaled values."""
        return True

    @property
    def data_dtype(self) -> torch.dtype:
        """Type of what :meth:`to_data` gives."""
        return torch.uint8 if self.eight_bits else torch.float32

    def data_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape ``(C, *spatial)`` of what :meth:`to_data` gives of a sample of ``shape``."""
        return tuple(shape)

    @property
    def units(self) -> str:
        """The meaning of values that :meth:`to_data` gives, in words."""
        return "in the units of the training data"

    @property
    def inverse(self) -> str:
        """The meaning of values that a denoiser sees, in words."""
        return f"scaled by {parts.to_text(self)}: undo it for the units of the training data"


@part("scaling", "pixels")
@dataclass(frozen=True)
class Pixels(Scaling):
    """8-bit levels v as x = v / 127.5 - 1, in [-1, 1]; samples are rounded to 8 bits.

    >>> import elucidiff as ed, torch
    >>> ed.data.Pixels().to_data(torch.tensor([-1.0, 0.2, 1.0])).tolist()
    [0, 153, 255]
    """

    def to_model(self, stored: Tensor) -> Tensor:
        """:func:`to_unit`; floating-point values are taken to be in [-1, 1] already."""
        return to_unit(stored)

    def to_data(self, x: Tensor) -> Tensor:
        """:func:`to_uint8`."""
        return to_uint8(x)

    def log_slope(self, stored: Tensor) -> Tensor:
        """-n ln(127.5), n values an image."""
        return _of_each(stored, -math.log(127.5) * stored[:1].numel())

    @property
    def eight_bits(self) -> bool:
        """Yes."""
        return True

    @property
    def units(self) -> str:
        """See :class:`Scaling`."""
        return "8-bit levels"

    @property
    def inverse(self) -> str:
        """See :class:`Scaling`."""
        return "in [-1, 1]: 127.5 x + 127.5 brings them back to 0..255"


@part("scaling", "transparent")
@dataclass(frozen=True)
class Transparent(Pixels):
    """Pictures with an alpha channel as ``pixels``, with white wherever they are wholly transparent.

    What lies under transparent pixels is what a drawing program left there. Nobody sees it, but a network that has to
    predict it spends its capacity on it. Samples get white there, too.

    >>> import elucidiff as ed, torch
    >>> pixel = torch.tensor([90, 0], dtype=torch.uint8).reshape(1, 2, 1, 1)  # grey, and wholly transparent
    >>> ed.data.Transparent().to_model(pixel).flatten().tolist()
    [1.0, -1.0]
    """

    def to_model(self, stored: Tensor) -> Tensor:
        """:class:`Pixels` of the picture with white under alpha 0 (8 bits) or -1 (floating point)."""
        _refuse_opaque(stored)
        return super().to_model(_white_where_transparent(stored))

    def to_data(self, x: Tensor) -> Tensor:
        """:func:`to_uint8`, with white where alpha is rounded to 0."""
        _refuse_opaque(x)
        return _white_where_transparent(to_uint8(x))


def _refuse_opaque(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] not in (2, 4):
        raise ValueError(
            f"images of shape {tuple(images.shape[1:])} have no alpha channel: transparent is a scaling of grey "
            "pictures with alpha (2, H, W) and of RGBA (4, H, W)"
        )


def _white_where_transparent(images: Tensor) -> Tensor:
    white, nothing = (255, 0) if images.dtype == torch.uint8 else (1, -1)
    colours, alpha = images[:, :-1], images[:, -1:]
    return torch.cat([torch.where(alpha == nothing, white, colours), alpha], 1)


@part("scaling", "none")
@dataclass(frozen=True)
class AsStored(Scaling):
    """Floating-point data as they are; 8-bit data become ``pixels``.

    >>> import elucidiff as ed
    >>> ed.data.AsStored().to_model(torch.tensor([-3.0, 7.0])).tolist()
    [-3.0, 7.0]
    """

    def measured(self, dataset: Dataset) -> Scaling:
        """:class:`Pixels` for 8-bit data, else itself."""
        return Pixels() if dataset.dtype == torch.uint8 else self

    def to_model(self, stored: Tensor) -> Tensor:
        """The values themselves."""
        return to_unit(stored)

    def to_data(self, x: Tensor) -> Tensor:
        """The values themselves."""
        return x.to(torch.float32)

    @property
    def inverse(self) -> str:
        """See :class:`Scaling`."""
        return self.units

    def log_slope(self, stored: Tensor) -> Tensor:
        """0."""
        return _of_each(stored, 0.0)


def scaling_of(denoiser: AnyDenoiser) -> Scaling:
    """The scaling that a model was trained with, by its facts.

    One that does not tell, as from elsewhere, is taken to be of 8-bit pictures if its samples have the shape of
    pictures, as nearly all are; of others values are kept as they are.

    Raises:
        ValueError: the facts hold something else.

    >>> import elucidiff as ed
    >>> ed.data.scaling_of(ed.ideal.DataPosterior(torch.zeros(2, 3, 8, 8)))
    Pixels()
    """
    facts = denoiser.facts.get("data")
    known: dict[str, Any] = facts if isinstance(facts, dict) else {}
    if "scaling" in known:
        found: Scaling = parts.from_plain("scaling", known["scaling"])
        return found
    pictures = "uint8" if is_picture(denoiser.sample_shape) else "float32"
    return Pixels() if known.get("dtype", pictures) == "uint8" else AsStored()


def moments_of(dataset: Dataset, change: Callable[[Tensor], Tensor] = lambda stored: stored) -> Moments:
    """Moments of all values of a data set, read in pieces.

    Args:
        dataset: the data.
        change: of values ``(n, C, *spatial)``, such as :meth:`Scaling.to_model`; none by default.
    """
    moments = Moments()
    for piece in read_in_pieces(dataset):
        moments.add(change(piece))
    return moments


def read_in_pieces(dataset: Dataset) -> Iterator[Tensor]:
    """All images of a data set from front to back, ``(n, C, *spatial)`` at a time."""
    size = max(1, _VALUES_AT_ONCE // math.prod(dataset.shape))
    for start in range(0, len(dataset), size):
        yield dataset.images(range(start, min(start + size, len(dataset))))


def _of_each(stored: Tensor, value: float) -> Tensor:
    return torch.full((len(stored),), value, dtype=widest_type(stored.device), device=stored.device)
