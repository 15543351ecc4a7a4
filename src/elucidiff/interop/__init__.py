"""Models in other people's formats, read without running anything that is in their files."""

from __future__ import annotations

from elucidiff.interop import nvlabs, openai
from elucidiff.interop.home_sampling import home_sample

__all__ = ["home_sample", "nvlabs", "openai"]
