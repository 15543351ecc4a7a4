"""The reference's networks of the golden data, with their weights, as ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elucidiff import networks
from elucidiff.interop import nvlabs
from tests.golden_files import load

INPUTS = ("in/x", "in/noise_labels", "in/class_labels", "in/augment_labels")


def reference_network(name: str) -> tuple[dict[str, Any], dict[str, Tensor], networks.Network]:
    """The case, its tensors and the network, in evaluation mode."""
    case, tensors = load(f"e_networks/{name.removeprefix('e_networks/')}")
    weights = {key.removeprefix("param/"): value for key, value in tensors.items() if key.startswith("param/")}
    return case, tensors, nvlabs.from_state_dict(case["cls"], case["kwargs"], weights)


def inputs(tensors: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> list[Tensor | None]:
    """The arguments of the network in the golden data; None for labels that it does not take."""
    return [tensors[key].to(dtype) if key in tensors else None for key in INPUTS]
