"""The networks F inside a preconditioned denoiser: DDPM++, NCSN++, ADM (Karras et al. 2022, App. F), EDM2 and ours.

All are called as ``network(x, noise_labels, class_labels=None, augment_labels=None)``, see :class:`Network`. Each has
settings, which are the part that names it; subclass :class:`NetworkPart` for networks of your own.
"""

from __future__ import annotations

from elucidiff.networks.adm import ADM, ADMSettings
from elucidiff.networks.base import Blueprint, NetworkPart, blueprint_of, build
from elucidiff.networks.edm2 import EDM2, EDM2Settings
from elucidiff.networks.fields import resampled
from elucidiff.networks.magnitude_preserving import normalise_weights
from elucidiff.networks.mp_unet import MPUNet, MPUNetSettings
from elucidiff.networks.network import Network, NetworkSettings
from elucidiff.networks.unet import DDPMPPSettings, NCSNPPSettings, UNet

__all__ = [
    "ADM",
    "EDM2",
    "ADMSettings",
    "Blueprint",
    "DDPMPPSettings",
    "EDM2Settings",
    "MPUNet",
    "MPUNetSettings",
    "NCSNPPSettings",
    "Network",
    "NetworkPart",
    "NetworkSettings",
    "UNet",
    "blueprint_of",
    "build",
    "normalise_weights",
    "resampled",
]
