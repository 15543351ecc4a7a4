"""Models in other people's formats, read without running anything that is in their files."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from elucidiff.denoisers.opening import load
from elucidiff.interop import (
    azula,
    diffusers,
    flow_matching,
    k_diffusion,
    lucidrains,
    nvlabs,
    openai,
    own_code,
    physicsnemo,
    published_ema,
    score_sde,
)
from elucidiff.interop.checking import check
from elucidiff.interop.home_folder import save
from elucidiff.interop.home_sampling import home_sample

if TYPE_CHECKING:
    from elucidiff.interop.exporting import Exported, export

__all__ = [
    "Exported",
    "azula",
    "check",
    "diffusers",
    "export",
    "flow_matching",
    "home_sample",
    "k_diffusion",
    "load",
    "lucidrains",
    "nvlabs",
    "openai",
    "own_code",
    "physicsnemo",
    "published_ema",
    "save",
    "score_sde",
]


def __getattr__(name: str) -> Any:
    """Import a slow module on first use (PEP 562)."""
    if name in ("Exported", "export"):
        return getattr(importlib.import_module("elucidiff.interop.exporting"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
