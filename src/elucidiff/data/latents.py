"""Latents as a denoiser sees them: each channel at mean 0 and standard deviation 1; and back, to pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from elucidiff.autoencoders import Autoencoder, KeptAutoencoder
from elucidiff.data.dataset import Dataset
from elucidiff.data.normalisation import Automatic, Standard
from elucidiff.data.scaling import AsStored, Scaling, to_uint8, to_unit
from elucidiff.data.sources import Images, Rows, Source
from elucidiff.parts import part


@part("scaling", "latent")
@dataclass(frozen=True)
class Latent(Standard):
    """Latents of an autoencoder, as by ``standard``; what is sampled is decoded to 8-bit pictures.

    Sets that were imported as latents have it without being asked. Pictures that are given are encoded first.

    Args:
        means: of each channel of the latents, measured if they are not given.
        stds: standard deviation of each channel, likewise.
        autoencoder: what made the latents of pictures.
        decoded: whether data are pictures; if not, they are latents in the autoencoder's own units.

    >>> import elucidiff as ed, torch
    >>> from dataclasses import dataclass
    >>> @ed.part("autoencoder", "example_halving")
    ... @dataclass(frozen=True)
    ... class Halving(ed.autoencoders.Autoencoder):
    ...     "Means of 2 x 2 pixels."
    ...     def encode(self, images):
    ...         return torch.nn.functional.avg_pool2d(images, 2)
    ...     def decode(self, latents):
    ...         return torch.nn.functional.interpolate(latents, scale_factor=2)
    >>> scaling = ed.data.Latent((0.5,), (0.1,), ed.autoencoders.KeptAutoencoder.of(Halving(), (1, 4, 4)))
    >>> pictures = scaling.to_data(torch.zeros(1, 1, 2, 2))
    >>> pictures.shape, int(pictures.max())
    (torch.Size([1, 1, 4, 4]), 191)
    """

    autoencoder: Autoencoder | None = None
    decoded: bool = True

    def to_model(self, stored: Tensor) -> Tensor:
        """(z - mean) / std of latents z, and of those of 8-bit pictures."""
        if stored.dtype == torch.uint8:
            return super().to_model(self._coder.encode(to_unit(stored)).to(stored.device))
        return super().to_model(stored)

    def to_data(self, x: Tensor) -> Tensor:
        """8-bit pictures, decoded on the CPU; or latents, if they are to stay so."""
        latents = super().to_data(x)
        return to_uint8(self._coder.decode(latents)) if self.decoded else latents

    def open(self) -> None:
        """Look whether the autoencoder is there, and is the one that it was.

        Raises:
            OSError: a file is missing or cannot be read.
            ValueError: a file is damaged, or another than it was.
        """
        if isinstance(self._coder, KeptAutoencoder):
            _ = self._coder.found

    @property
    def data_dtype(self) -> torch.dtype:
        """See :class:`.Scaling`."""
        return torch.uint8 if self.decoded else torch.float32

    def data_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """See :class:`.Scaling`."""
        stated = getattr(self._coder, "picture_shape", None)
        return tuple(stated) if stated and self.decoded else tuple(shape)

    @property
    def units(self) -> str:
        """See :class:`.Scaling`."""
        return "8-bit levels" if self.decoded else "latents in the autoencoder's own units"

    @property
    def inverse(self) -> str:
        """See :class:`.Scaling`."""
        return "latents of an autoencoder, scaled by channel: times std, plus mean, then through its decoder"

    @property
    def _coder(self) -> Autoencoder:
        if self.autoencoder is None:
            raise ValueError("the scaling latent has no autoencoder: import pictures with --encode")
        return self.autoencoder


def scaling_for(dataset: Dataset, chosen: Scaling) -> Scaling:
    """The scaling to measure for a data set: the chosen one, but that of its autoencoder for latents.

    Raises:
        ValueError: another one was chosen for latents, or what their set says of the autoencoder is damaged.
    """
    if (autoencoder := dataset.autoencoder) is None:
        return chosen
    if not isinstance(chosen, AsStored | Automatic | Standard):
        raise ValueError(f"{dataset.name} holds latents, which are scaled by standard: leave --normalise out")
    return Latent(autoencoder=autoencoder)


def as_seen(dataset: Dataset) -> Dataset:
    """Latents as a denoiser sees them; other data sets as they are."""
    scaling = scaling_for(dataset, AsStored())
    if not isinstance(scaling, Latent):
        return dataset
    measured = scaling.measured(dataset)
    assert isinstance(measured, Latent)
    return dataset.read_from(lambda source: _Scaled(source, replace(measured, decoded=False)))


class _Scaled:
    """A source as a denoiser sees it."""

    def __init__(self, source: Source, scaling: Scaling) -> None:
        self._source, self._scaling = source, scaling
        self.shape: tuple[int, ...] = source.shape
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self._source)

    def read(self, rows: Rows) -> Images:
        """See :class:`.Source`."""
        return self._scaling.to_model(torch.from_numpy(self._source.read(rows))).numpy()
