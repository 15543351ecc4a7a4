"""The model that ``--guide`` names."""

from __future__ import annotations

from pathlib import Path

import torch

import elucidiff
from elucidiff.denoisers.model_folder import checksum
from elucidiff.denoisers.preconditioned import Denoiser


def load_guide(guide: Path, model: Path, device: torch.device) -> Denoiser:
    """The guide, ready on its device.

    Args:
        guide: its model folder.
        model: the folder of the model that is guided.
        device: where to compute.

    Raises:
        ValueError: the two folders hold the same model, or the guide is damaged.
        OSError: it cannot be read.
    """
    if checksum(guide) == checksum(model):
        raise ValueError(
            f"--guide {guide} is the same model as {model}, which changes nothing: give a smaller or an earlier one"
        )
    return elucidiff.load(guide).eval().to(device)
