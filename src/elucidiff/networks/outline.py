"""A network that a file describes, before there are any weights in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from elucidiff.networks.network import Network
from elucidiff.untrusted import clipped

_MOST_ENTRIES = 64
_MOST = 1 << 24
_MOST_BLOCKS = 128


def outline(config: Mapping[str, Any], weights: int) -> Network:
    """Make a network without values (on PyTorch's device "meta"), into which the weights of a file are to go.

    No values means no memory for them, and what a description of a few bytes can ask for beside that is bounded: each
    block of a network has weights, so a network has no more blocks than its file has weights.

    Args:
        config: the settings of a network, as :func:`elucidiff.networks.build` takes them, from a file.
        weights: number of arrays of weights that the file holds.

    Raises:
        ValueError: the settings describe no network, or a larger one than its file.
    """
    from elucidiff.networks import build  # this module is part of that package

    for name, value in config.items():
        if not name.isprintable():
            raise ValueError(f"there is no setting {clipped(name)}")
        _check_plain(name, value)
    try:
        levels, blocks = len(config.get("channel_multipliers", ())), config.get("blocks_per_level", 0)
        if levels * blocks > min(weights, _MOST_BLOCKS):
            raise ValueError(f"{levels} levels of {blocks} blocks each are too many for {weights} weights")
        with torch.device("meta"):
            return build(config)
    except (TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]  # PyTorch goes on with where it arose
        raise ValueError(f"the settings describe no network: {clipped(reason, 300)}") from None


def _check_plain(name: str, value: Any) -> None:
    """Refuse what no setting is: nested lists, huge or endless numbers, long texts."""
    entries = value if isinstance(value, list | tuple) else [value]
    if len(entries) > _MOST_ENTRIES:
        raise ValueError(f"the setting {clipped(name)} has {len(entries)} values")
    for entry in entries:
        match entry:
            case None | bool():
                continue
            case str() if len(entry) <= _MOST_ENTRIES and entry.isprintable():
                continue
            case int() | float() if abs(entry) <= _MOST and math.isfinite(entry):
                continue
        shown = clipped(repr(entry)) if isinstance(entry, str | float) else f"a large {type(entry).__name__}"
        raise ValueError(f"the setting {clipped(name)} is out of range: {shown}")
