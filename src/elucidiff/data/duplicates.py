"""Find images that come more than once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from torch import Tensor

_SIDE = 8
# Two images are nearly the same if their thumbnails differ by this much, root mean square in 8-bit levels:
# re-encoding or resizing an image changes its thumbnail by less.
_LEVELS_APART = 2.0
_DIRECTIONS = 8
_CANDIDATES = 4


def thumbnails(images: Tensor) -> npt.NDArray[np.float32]:
    """Grey pictures of 8 x 8 in 8-bit levels, ``(N, 64)``: what is left of an image after it was resized or
    re-encoded.

    Args:
        images: in [-1, 1], ``(N, C, H, W)``.
    """
    grey = images.mean(1, keepdim=True)
    small = torch.nn.functional.adaptive_avg_pool2d(grey, _SIDE).flatten(1)
    return (small * 127.5).numpy()


def digest(image: Tensor) -> bytes:
    """What tells a stored image from every other: equal for equal images alone."""
    return hashlib.blake2b(image.numpy().data, digest_size=16).digest()


def exact_groups(digests: Sequence[bytes]) -> list[list[int]]:
    """Groups of two and more equal digests, as positions, in the order of their first members."""
    groups = defaultdict(list)
    for place, digest in enumerate(digests):
        groups[digest].append(place)
    return [group for group in groups.values() if len(group) > 1]


def near_pairs(small: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pairs of thumbnails that are nearly the same: for each the nearest one before it, as (earlier, later).

    Neighbours are searched for along the directions in which the thumbnails differ most, where they cannot be further
    apart than in all; of many that are close there only four are looked at.
    """
    if len(small) < 2:
        return []
    radius = _LEVELS_APART * np.sqrt(small.shape[1])
    centred = small - small.mean(0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    projected = centred @ directions[:, -_DIRECTIONS:]
    neighbours = cKDTree(projected).query(projected, k=_CANDIDATES + 1, distance_upper_bound=radius)[1]
    pairs = []
    for later, candidates in enumerate(np.asarray(neighbours)):
        earlier = candidates[candidates < later]
        if len(earlier):
            distances = np.linalg.norm(small[earlier] - small[later], axis=1)
            if distances.min() <= radius:
                pairs.append((int(earlier[distances.argmin()]), later))
    return pairs
