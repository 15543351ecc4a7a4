"""The reference numbers in ``tests/golden``: see the README there for what each tensor is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

GOLDEN = Path(__file__).parent / "golden"


def load(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read ``tests/golden/<name>.safetensors``: its settings (the metadata key ``case``) and its tensors."""
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        case = json.loads(file.metadata()["case"])
        return case, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)


def cases(folder: str, pattern: str = "*") -> list[str]:
    """Names of the cases in a golden folder, for :func:`load` and for ``pytest.mark.parametrize``."""
    return sorted(f"{folder}/{path.stem}" for path in (GOLDEN / folder).glob(f"{pattern}.safetensors"))
