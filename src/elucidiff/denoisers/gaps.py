"""Values that no training image had, as a model tells of them."""

from __future__ import annotations

import base64
import binascii
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


@functools.lru_cache(maxsize=8)
def unpacked(absent: str, shape: tuple[int, ...]) -> Tensor:
    """Booleans of ``shape`` from their packed bits in base64.

    Raises:
        ValueError: it is something else, or of another size.
    """
    try:
        packed = np.frombuffer(base64.b64decode(absent, validate=True), np.uint8)
    except (binascii.Error, ValueError):
        raise ValueError("the gaps of the model are damaged: they are no base64") from None
    count = math.prod(shape)
    if len(packed) != -(-count // 8):
        raise ValueError(f"the gaps of the model are not those of samples of shape {shape}")
    return torch.from_numpy(np.unpackbits(packed, count=count).astype(bool)).reshape(shape)


def absent_in(data: Mapping[str, Any], shape: tuple[int, ...]) -> Tensor | None:
    """True for values (C, *spatial) that no training image had, by ``facts["data"]``; None if each was in some."""
    scaling = data.get("scaling")
    text = scaling.get("absent") if isinstance(scaling, dict) else None
    return unpacked(text, shape) if isinstance(text, str) and text else None
