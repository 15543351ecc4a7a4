"""The reference numbers in ``tests/golden/n_foreign``, made with the libraries themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.golden_files import GOLDEN, load

FOREIGN = GOLDEN / "n_foreign"


def cases(library: str) -> list[str]:
    """Names of the cases of a library."""
    return sorted(folder.name for folder in (FOREIGN / library).iterdir() if folder.is_dir())


def golden(library: str, name: str) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """The folder of a case with its weights, its settings, and its tensors."""
    case, tensors = load(f"n_foreign/{library}/{name}/case")
    return FOREIGN / library / name, case, tensors


def state_dict(*parts: Path) -> dict[str, Tensor]:
    """The state dict in these files, under the library's names, in float32 or wider."""
    found = {}
    for part in parts:
        _, stored = load(str(part.relative_to(GOLDEN).with_suffix("")))
        found |= {name.removeprefix("param/"): value for name, value in stored.items()}
    return {name: value if value.dtype == torch.float64 else value.float() for name, value in found.items()}


def distance(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference as a part of the largest value."""
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())


def tolerance(run: dict[str, Any], least: float = 2e-5) -> float:
    """What the README allows a run: five times its own rounding error, at least 2e-5."""
    return max(least, 5 * run.get("rel_f32_f64", 0.0))
