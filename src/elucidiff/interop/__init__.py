"""Models in other people's formats, read without running anything that is in their files."""

from __future__ import annotations

from elucidiff.interop import nvlabs

__all__ = ["nvlabs"]
