"""Ways to compute a denoiser's network while sampling: PyTorch as it is, compiled, or ONNX Runtime."""

from __future__ import annotations

from elucidiff.denoisers.backends.choosing import BACKENDS, Backend, Choice, choose, with_backend
from elucidiff.denoisers.backends.pytorch import require_compiler

__all__ = ["BACKENDS", "Backend", "Choice", "choose", "require_compiler", "with_backend"]
