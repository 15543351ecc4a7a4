"""A training state of the reference, made by PyTorch from one of its network snapshots."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path
from unittest.mock import patch

import torch

from tests.golden_files import GOLDEN

_MODULE = "torch_utils.persistence"


class Opened:
    """An object of the reference's as its description alone."""

    def __init__(self, meta):
        self.meta = meta

    def __reduce__(self):
        return sys.modules[_MODULE]._reconstruct_persistent_obj, (self.meta,)


def _reconstruct_persistent_obj(meta):
    return Opened(meta)


def state_of(name: str, path: Path) -> Path:
    """The network of a golden snapshot as a training stores it, with an optimiser that has made a step."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.Adam([weight])
    weight.sum().backward()
    optimiser.step()
    # The module that the reference's pickles name, for as long as its file is read and written again.
    module = types.ModuleType(_MODULE)
    function = types.FunctionType(_reconstruct_persistent_obj.__code__, globals())
    function.__module__, function.__qualname__ = _MODULE, function.__name__
    module._reconstruct_persistent_obj = function
    with patch.dict(sys.modules, {"torch_utils": types.ModuleType("torch_utils"), _MODULE: module}):
        network = pickle.loads((GOLDEN / f"{name}.pkl").read_bytes())["ema"]
        torch.save({"net": network, "optimizer_state": optimiser.state_dict()}, path)
    return path
