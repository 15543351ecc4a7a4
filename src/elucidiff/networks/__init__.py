"""The networks F inside a preconditioned denoiser: DDPM++, NCSN++, ADM (Karras et al. 2022, App. F), EDM2 and ours.

All are called as ``network(x, noise_labels, class_labels=None, augment_labels=None)``, see :class:`Network`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elucidiff.networks.adm import ADM
from elucidiff.networks.edm2 import EDM2
from elucidiff.networks.magnitude_preserving import normalise_weights
from elucidiff.networks.mp_unet import MPUNet
from elucidiff.networks.network import Network
from elucidiff.networks.outline import outline
from elucidiff.networks.unet import UNet

__all__ = ["ADM", "EDM2", "MPUNet", "Network", "UNet", "build", "normalise_weights", "outline"]

_TYPES: dict[str, type[UNet] | type[ADM] | type[EDM2] | type[MPUNet]] = {
    "unet": UNet,
    "adm": ADM,
    "edm2": EDM2,
    "mp-unet": MPUNet,
}


def build(config: Mapping[str, Any]) -> Network:
    """Make the network that ``config`` describes, with new starting values.

    Args:
        config: the settings of a network as its attribute ``config`` has them: ``type`` ("unet", "adm", "edm2" or
            "mp-unet") and the arguments of that class.

    Raises:
        ValueError: the type is unknown, a setting is unknown, missing or out of range.
    """
    settings = dict(config)
    name = settings.pop("type", None)
    if name not in _TYPES:
        raise ValueError(f"network type {name!r} is unknown: choose one of {', '.join(_TYPES)}")
    if name == "edm2" and "augment_dim" in settings:
        raise ValueError("this network of type 'edm2' is what is called 'mp-unet' by now: train the model again")
    try:
        return _TYPES[name](**settings)
    except TypeError as error:
        raise ValueError(f"settings do not describe a network of type {name!r}: {error}") from error
