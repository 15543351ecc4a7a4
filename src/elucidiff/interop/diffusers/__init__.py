"""Models of diffusers: pipeline folders as denoisers, and their samplers' own results.

Settings, defaults and results are those of diffusers 0.42. Nothing of a folder is run or unpickled: networks are
built by the installed package (the extra ``diffusers``) from their settings, and filled from safetensors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from elucidiff.interop.diffusers.autoencoder import Autoencoder, load_autoencoder
from elucidiff.interop.diffusers.loading import is_pipeline, load, sample_at_home
from elucidiff.interop.diffusers.network import diffusers_package
from elucidiff.interop.diffusers.schedulers import from_config

if TYPE_CHECKING:
    from elucidiff.interop.diffusers.pipeline_scheduler import ElucidiffScheduler
    from elucidiff.interop.diffusers.pipelines import ElucidiffUNet, export

__all__ = [
    "Autoencoder",
    "ElucidiffScheduler",
    "ElucidiffUNet",
    "export",
    "from_config",
    "is_pipeline",
    "load",
    "load_autoencoder",
    "sample_at_home",
]

_NEED_DIFFUSERS = {"ElucidiffScheduler": "pipeline_scheduler", "ElucidiffUNet": "pipelines", "export": "pipelines"}


def __getattr__(name: str) -> Any:
    """Import a module that needs diffusers on first use (PEP 562)."""
    if name in _NEED_DIFFUSERS:
        diffusers_package()
        return getattr(importlib.import_module(f"{__name__}.{_NEED_DIFFUSERS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
