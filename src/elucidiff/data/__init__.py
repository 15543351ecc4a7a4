"""Data sets: opening, checking, importing, inspecting, splitting and ordering them.

::

    dataset = ed.data.open("fashion-mnist")
    image, label = dataset[0]                       # uint8 (C, *spatial), float32 (label_dim,) or None
    x = ed.data.AsStored().measured(dataset).to_model(dataset.images([0, 1, 2]))  # as a denoiser sees them
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elucidiff.data.conditions import Condition
    from elucidiff.data.dataset import Dataset, Fingerprint
    from elucidiff.data.encoding import import_latents
    from elucidiff.data.gaps import Gaps
    from elucidiff.data.given import ConditionScaling, given_with
    from elucidiff.data.importing import Imported, import_dataset
    from elucidiff.data.inspecting import Report, inspect
    from elucidiff.data.latents import Latent
    from elucidiff.data.normalisation import Automatic, Log, Range, Standard, choose_scaling
    from elucidiff.data.opening import open
    from elucidiff.data.order import InfiniteOrder
    from elucidiff.data.reading import Reading
    from elucidiff.data.scaling import (
        AsStored,
        Pixels,
        Scaling,
        Transparent,
        scaling_of,
        to_uint8,
        to_unit,
    )
    from elucidiff.data.standard_sets import NAMES, data_root
    from elucidiff.data.subsets import split

__all__ = [
    "NAMES",
    "AsStored",
    "Automatic",
    "Condition",
    "ConditionScaling",
    "Dataset",
    "Fingerprint",
    "Gaps",
    "Imported",
    "InfiniteOrder",
    "Latent",
    "Log",
    "Pixels",
    "Range",
    "Reading",
    "Report",
    "Scaling",
    "Standard",
    "Transparent",
    "choose_scaling",
    "data_root",
    "given_with",
    "import_dataset",
    "import_latents",
    "inspect",
    "open",
    "scaling_of",
    "split",
    "to_uint8",
    "to_unit",
]

_HOMES = {
    "Gaps": "gaps",
    "choose_scaling": "normalisation",
    "Automatic": "normalisation",
    "AsStored": "scaling",
    "Condition": "conditions",
    "ConditionScaling": "given",
    "Dataset": "dataset",
    "Fingerprint": "dataset",
    "Imported": "importing",
    "InfiniteOrder": "order",
    "Latent": "latents",
    "Log": "normalisation",
    "NAMES": "standard_sets",
    "Pixels": "scaling",
    "Range": "normalisation",
    "Reading": "reading",
    "Report": "inspecting",
    "Scaling": "scaling",
    "Standard": "normalisation",
    "Transparent": "scaling",
    "data_root": "standard_sets",
    "given_with": "given",
    "import_dataset": "importing",
    "import_latents": "encoding",
    "inspect": "inspecting",
    "open": "opening",
    "scaling_of": "scaling",
    "split": "subsets",
    "to_uint8": "scaling",
    "to_unit": "scaling",
}


def __getattr__(name: str) -> Any:
    """Import a name on first use (PEP 562): importing data needs no PyTorch, which alone would take most memory."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
