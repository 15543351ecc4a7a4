"""Networks made ready for inference: what depends on the weights alone is computed once."""

from __future__ import annotations

import copy

from torch import nn

from elucidiff.networks.magnitude_preserving import FoldedLayer, UnitLayer


def folded(network: nn.Module) -> nn.Module:
    """A copy of ``network`` in evaluation mode that need not normalise its weights at every call.

    It is the same function of the same inputs, to the bit, and can be neither trained nor told from its outputs. Only
    magnitude-preserving layers change; a network without them is merely copied.

    Args:
        network: any module; it stays as it is.
    """
    if isinstance(network, UnitLayer):
        return FoldedLayer(network)
    made = copy.deepcopy(network).eval().requires_grad_(False)
    for parent in list(made.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, UnitLayer):
                setattr(parent, name, FoldedLayer(child))
    return made
