"""Between two latents, along the sphere on which Gaussian noise lives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def slerp(start: Tensor, end: Tensor, weight: float | Tensor) -> Tensor:
    """Spherical interpolation (Shoemake 1985): the direction turns evenly, the length changes linearly.

    With a the direction of ``start``, b that of ``end``, omega the angle between them, and q the unit vector
    orthogonal to a in the plane of both, the direction is

        cos(w omega) a + sin(w omega) q

    This form divides by nothing that becomes small but the length of q before it is made a unit vector, whose error
    sin(w omega) makes small again. So it is exact for parallel directions, and for opposite ones it goes half
    around the sphere (by a way that is arbitrary but always the same).

    Args:
        start: (B, C, *spatial), no sample of length 0.
        end: likewise.
        weight: 0 for ``start`` to 1 for ``end``: one number, or one a sample, (B,).

    Returns:
        (B, C, *spatial), in the wider type of the two.

    Raises:
        ValueError: shapes that differ, or a sample without a direction.

    >>> import elucidiff as ed
    >>> half = ed.sampling.slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
    >>> [round(float(value), 4) for value in half[0]]  # sqrt(1 / 2)
    [0.7071, 0.7071]
    """
    if start.shape != end.shape or start.ndim < 2:
        raise ValueError(f"cannot interpolate between shapes {tuple(start.shape)} and {tuple(end.shape)}")
    dtype = torch.promote_types(start.dtype, end.dtype)
    a, b = start.flatten(1).to(dtype), end.flatten(1).to(dtype)
    w = torch.as_tensor(weight, dtype=dtype, device=a.device).reshape(-1, 1)
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    for name, length in (("start", length_a), ("end", length_b)):
        if not bool(((length > 0) & length.isfinite()).all()):
            raise ValueError(f"a sample of {name} has no direction: it is zero or not finite")
    a, b = a / length_a, b / length_b
    along = (a * b).sum(1, keepdim=True)
    beside = b - along * a
    beside = beside - (beside * a).sum(1, keepdim=True) * a  # once more, for what cancellation left of a
    size = beside.norm(dim=1, keepdim=True)
    omega = torch.atan2(size, along)
    q = torch.where(size > 0, beside / size, _orthogonal(a))
    direction = torch.cos(w * omega) * a + torch.sin(w * omega) * q
    between: Tensor = ((1 - w) * length_a + w * length_b) * direction
    return between.reshape(start.shape)


def path(keys: Tensor, frames: int) -> tuple[Tensor, list[tuple[int, float]]]:
    """Latents on the way from each key to the next.

    Args:
        keys: (K, C, *spatial), at least two.
        frames: latents from one key to the next, both included.

    Returns:
        ((K - 1)(frames - 1) + 1, C, *spatial), each key once, exactly; and where each is: the key before it, and the
        weight of the next.

    Raises:
        ValueError: too few keys or frames, or a key without a direction.
    """
    places = stops(len(keys), frames)
    between = [keys[k : k + 1] if w == 0 else slerp(keys[k : k + 1], keys[k + 1 : k + 2], w) for k, w in places]
    return torch.cat(between), places


def stops(keys: int, frames: int) -> list[tuple[int, float]]:
    """Where the frames are on the way through so many keys: the key before each, and the weight of the next.

    Raises:
        ValueError: there are too few keys or frames.
    """
    if keys < 2:
        raise ValueError(f"there is nothing to interpolate between with {keys} of them: give at least two")
    if frames < 2:
        raise ValueError(f"frames is {frames}, but must be at least 2: both ends are frames")
    inner = [(k, frame / (frames - 1)) for k in range(keys - 1) for frame in range(frames - 1)]
    return [*inner, (keys - 1, 0.0)]


def mixed(rows: Tensor, places: Sequence[tuple[int, float]]) -> Tensor:
    """Labels on the same way: rows of the keys, (K, label_dim), mixed linearly, (frames, label_dim)."""
    return torch.stack([rows[k] if w == 0 else (1 - w) * rows[k] + w * rows[k + 1] for k, w in places])


def _orthogonal(a: Tensor) -> Tensor:
    """A unit vector orthogonal to each row of ``a``: the axis on which it is shortest, made orthogonal."""
    axis = torch.nn.functional.one_hot(a.abs().argmin(1), a.shape[1]).to(a.dtype)
    beside = axis - (axis * a).sum(1, keepdim=True) * a
    direction: Tensor = beside / beside.norm(dim=1, keepdim=True)
    return direction
