"""Models in other people's formats, read without running anything that is in their files."""

from __future__ import annotations

from elucidiff.interop import (
    diffusers,
    flow_matching,
    k_diffusion,
    lucidrains,
    nvlabs,
    openai,
    physicsnemo,
    score_sde,
)
from elucidiff.interop.home_folder import save
from elucidiff.interop.home_sampling import home_sample
from elucidiff.interop.opening import load

__all__ = [
    "diffusers",
    "flow_matching",
    "home_sample",
    "k_diffusion",
    "load",
    "lucidrains",
    "nvlabs",
    "openai",
    "physicsnemo",
    "save",
    "score_sde",
]
