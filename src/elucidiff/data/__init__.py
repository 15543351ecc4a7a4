"""Data sets: opening, checking, importing, inspecting, splitting and ordering them.

::

    dataset = ed.data.open("fashion-mnist")
    image, label = dataset[0]                       # uint8 (C, *spatial), float32 (label_dim,) or None
    images = ed.data.to_unit(dataset.images([0, 1, 2]))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elucidiff.data.conditions import Condition
    from elucidiff.data.dataset import Dataset, Fingerprint
    from elucidiff.data.importing import Imported, import_dataset
    from elucidiff.data.inspecting import Report, inspect
    from elucidiff.data.opening import open
    from elucidiff.data.order import InfiniteOrder
    from elucidiff.data.reading import Reading
    from elucidiff.data.scaling import to_uint8, to_unit
    from elucidiff.data.standard_sets import NAMES, data_root
    from elucidiff.data.subsets import split

__all__ = [
    "NAMES",
    "Condition",
    "Dataset",
    "Fingerprint",
    "Imported",
    "InfiniteOrder",
    "Reading",
    "Report",
    "data_root",
    "import_dataset",
    "inspect",
    "open",
    "split",
    "to_uint8",
    "to_unit",
]

_HOMES = {
    "Condition": "conditions",
    "Dataset": "dataset",
    "Fingerprint": "dataset",
    "Imported": "importing",
    "InfiniteOrder": "order",
    "NAMES": "standard_sets",
    "Reading": "reading",
    "Report": "inspecting",
    "data_root": "standard_sets",
    "import_dataset": "importing",
    "inspect": "inspecting",
    "open": "opening",
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
