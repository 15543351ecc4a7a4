"""Folders as diffusers writes them, made of the reference numbers in ``tests/golden/n_foreign/diffusers``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.interop.foreign import FOREIGN

NETWORKS = FOREIGN / "diffusers"


def pipeline(root: Path, network: str, scheduler: str, *, beside: bool = False, **settings: Any) -> Path:
    """A pipeline's folder of a golden network with the scheduler of a golden case, ``settings`` replaced.

    Args:
        root: an empty folder.
        network: such as ``eps``.
        scheduler: the case, such as ``ddim_default``.
        beside: whether everything lies in one folder.
        settings: of the scheduler; a None is written, too.
    """
    config = json.loads((NETWORKS / network / scheduler / "scheduler_config.json").read_text()) | settings
    unet, where = (root, root) if beside else (root / "unet", root / "scheduler")
    for folder in {root, unet, where}:
        folder.mkdir(parents=True, exist_ok=True)
    for file in (NETWORKS / network / "unet").iterdir():
        shutil.copyfile(file, unet / file.name)  # which a test may damage
    (where / "scheduler_config.json").write_text(json.dumps(config))
    if not beside:
        cls = json.loads((unet / "config.json").read_text())["_class_name"]
        parts = {"unet": ["diffusers", cls], "scheduler": ["diffusers", config["_class_name"]]}
        (root / "model_index.json").write_text(json.dumps({"_class_name": "DDIMPipeline", **parts}))
    return root
