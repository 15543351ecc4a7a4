"""Models of diffusers: pipeline folders as denoisers, and their samplers' own results.

Settings, defaults and results are those of diffusers 0.42. Nothing of a folder is run or unpickled: networks are
built by the installed package (the extra ``diffusers``) from their settings, and filled from safetensors.
"""

from __future__ import annotations

from elucidiff.interop.diffusers.loading import is_pipeline, load, sample_at_home
from elucidiff.interop.diffusers.schedulers import from_config

__all__ = ["from_config", "is_pipeline", "load", "sample_at_home"]
