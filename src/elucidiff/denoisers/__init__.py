"""Everything that answers D(x; sigma): networks, closed forms, and models from elsewhere."""

from __future__ import annotations

from elucidiff.denoisers.model_folder import load
from elucidiff.denoisers.preconditioned import Denoiser

__all__ = ["Denoiser", "load"]
