"""Samples as pictures within a page: nothing is written to a disk, and nothing is fetched."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from elucidiff.data.scaling import to_uint8
from elucidiff.figures.style import PALETTE, slices
from elucidiff.sampling.jobs.outputs import are_pictures, png

_SIGNAL = (160, 100)


def as_urls(samples: Tensor) -> list[str]:
    """A ``data:`` URL for each sample: a PNG of a picture, the middle of a volume; lines for a signal.

    Args:
        samples: ``(B, C, *spatial)``, as a data set holds them.

    >>> import torch
    >>> as_urls(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))[0][:22]
    'data:image/png;base64,'
    """
    samples = samples.cpu()
    if samples.ndim <= 3:
        return [
            file_url("image/svg+xml", drawing.encode()) for drawing in _signals(samples.flatten(2).double().numpy())
        ]
    images = samples.numpy() if are_pictures(samples) else slices(samples.double().numpy())
    return [file_url("image/png", png(image)) for image in images]


def states_as_urls(x: Tensor, sigmas: Tensor, sigma_data: float) -> list[str]:
    """The same for noisy states ``(K, C, *spatial)``, whose contrast is made that of clean samples.

    Args:
        x: as a model sees them, at falling noise levels.
        sigmas: these, ``(K,)``.
        sigma_data: standard deviation of the data.
    """
    contrast = (1 + (sigmas / sigma_data).square()).sqrt().reshape(-1, *[1] * (x.ndim - 1)).to(x)
    shown = x / contrast
    if shown.ndim > 3:
        shown = to_uint8(shown)
    return as_urls(shown)


def file_url(kind: str, content: bytes) -> str:
    """Any content as a ``data:`` URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _signals(x: npt.NDArray[np.float64]) -> Sequence[str]:
    """``(B, C, L)`` as drawings of lines, a colour a channel, on one scale for all."""
    width, height = _SIGNAL
    x = x.reshape(len(x), -1, x.shape[-1])
    low, high = np.quantile(x, [0.005, 0.995])
    high = high if high > low else low + 1
    across = np.linspace(4, width - 4, x.shape[-1])
    drawings = []
    for sample in x:
        lines = []
        for colour, values in zip(PALETTE, sample, strict=False):
            down = height - 4 - (height - 8) * ((values - low) / (high - low)).clip(0, 1)
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))
            lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawings.append(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
            f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(lines)}</svg>'
        )
    return drawings
