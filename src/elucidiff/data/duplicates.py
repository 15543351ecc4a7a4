"""Find images that come more than once."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from elucidiff.data.scaling import to_unit

DIGEST, THUMBNAIL = 16, 64
"""Bytes of a digest, values of a thumbnail."""
_SIDE = 8
# Two images are nearly the same if their thumbnails differ by this much, root mean square in 8-bit levels:
# re-encoding or resizing an image changes its thumbnail by less.
_LEVELS_APART = 2.0
_DIRECTIONS = 8
_CANDIDATES = 4
_AT_ONCE = 1 << 16


def thumbnails(images: Tensor) -> npt.NDArray[np.float32]:
    """Grey pictures of 8 x 8 in 8-bit levels, ``(N, 64)``: what is left of an image after it was resized or
    re-encoded. 8-bit pictures with alpha are laid on white, as they are seen.

    Args:
        images: as they are stored, ``(N, C, H, W)``.
    """
    wide = to_unit(images)
    if images.dtype == torch.uint8 and images.shape[1] in (2, 4):
        opacity = (wide[:, -1:] + 1) / 2
        wide = wide[:, :-1] * opacity + (1 - opacity)
    grey = wide.mean(1, keepdim=True)
    small = torch.nn.functional.adaptive_avg_pool2d(grey, _SIDE).flatten(1)
    return (small * 127.5).numpy()


def digest(image: Tensor) -> bytes:
    """What tells a stored image from every other: equal for equal images alone."""
    return hashlib.blake2b(image.numpy().data, digest_size=DIGEST).digest()


def exact_groups(digests: npt.NDArray[np.uint8]) -> list[list[int]]:
    """Groups of two and more equal digests ``(N, DIGEST)``, as positions, in the order of their first members."""
    words = np.ascontiguousarray(digests).view(np.uint64)
    order = np.lexsort(words.T)
    alike = (words[order[1:]] == words[order[:-1]]).all(1)
    # Where a run of equal ones begins and ends.
    edges = np.flatnonzero(np.diff(alike.astype(np.int8), prepend=0, append=0))
    return sorted(sorted(order[start : end + 1].tolist()) for start, end in edges.reshape(-1, 2))


def near_pairs(small: npt.NDArray[np.floating]) -> list[tuple[int, int]]:
    """Pairs of thumbnails that are nearly the same: for each the nearest one before it, as (earlier, later).

    Neighbours are searched for along the directions in which the thumbnails differ most, where they cannot be further
    apart than in all; of many that are close there only four are looked at.
    """
    if len(small) < 2:
        return []
    radius = _LEVELS_APART * np.sqrt(small.shape[1])
    pieces = np.array_split(small, len(small) // _AT_ONCE + 1)
    mean = sum(piece.sum(0, dtype=np.float64) for piece in pieces) / len(small)
    moments = sum((piece - mean).T @ (piece - mean) for piece in pieces)
    directions = np.linalg.eigh(moments)[1][:, -_DIRECTIONS:]
    projected = np.concatenate([(piece - mean) @ directions for piece in pieces])
    tree = cKDTree(projected)
    pairs = []
    for start in range(0, len(small), _AT_ONCE):
        query = projected[start : start + _AT_ONCE]
        neighbours = np.asarray(tree.query(query, k=_CANDIDATES + 1, distance_upper_bound=radius)[1])
        # Most have no other within reach: those that have are looked at one by one.
        for row in np.flatnonzero((neighbours < start + np.arange(len(query))[:, None]).any(1)):
            later = start + int(row)
            earlier = neighbours[row][neighbours[row] < later]
            distances = np.linalg.norm(small[earlier].astype(np.float32) - small[later].astype(np.float32), axis=1)
            if distances.min() <= radius:
                pairs.append((int(earlier[distances.argmin()]), later))
    return pairs
