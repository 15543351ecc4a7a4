"""A denoiser, or a whole sampler, as one file that runs without elucidiff: ONNX, or a program of ``torch.export``."""

from __future__ import annotations

from elucidiff.interop.exporting.files import SUFFIXES, Exported, export

__all__ = ["SUFFIXES", "Exported", "export"]
