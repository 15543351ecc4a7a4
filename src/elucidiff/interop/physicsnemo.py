"""Preconditioned models of NVIDIA PhysicsNeMo: the networks of Karras et al. 2022, saved by another library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design.preconditioning import EDM
from elucidiff.interop import nvlabs, weights
from elucidiff.interop.home_sampling import home, one_of
from elucidiff.networks import Network
from elucidiff.networks.layers import GroupNorm

_OWN = {"img_resolution", "img_channels", "label_dim", "sigma_min", "sigma_max", "sigma_data", "model_type"}
# How the network is computed there; what it returns does not depend on these.
_COMPUTING = {"use_fp16", "checkpoint_level", "use_apex_gn", "profile_mode", "amp_mode"}
_NETWORKS = ("SongUNet", "DhariwalUNet")
# Layers of the attention there -> in NVlabs/edm, from where the networks came.
_RENAMED = {"attn.norm.": "norm2.", "attn.qkv.": "qkv.", "attn.proj.": "proj."}


def load(path: weights.Source, **settings: Any) -> Denoiser:
    """Read the state dict of an ``EDMPrecond`` around a SongUNet or a DhariwalUNet.

    Args:
        path: the file, its parts, or a folder with either; see :func:`.weights.read`.
        settings: what ``EDMPrecond`` was made with there: ``img_resolution``, ``img_channels``, ``label_dim``,
            ``sigma_data``, ``model_type`` (by default DhariwalUNet, as there) and the network's own.

    Returns:
        The denoiser on the CPU, in evaluation mode.

    Raises:
        OSError: a file cannot be read.
        ValueError: a setting is unknown or missing, or the file is damaged or does not fit the settings.
    """
    for name in ("img_resolution", "img_channels"):
        if name not in settings:
            raise ValueError(f"the setting {name} is missing: give what EDMPrecond was made with")
    kind = one_of("model_type", settings.get("model_type", "DhariwalUNet"), _NETWORKS)
    channels = settings["img_channels"]
    arguments = {name: value for name, value in settings.items() if name not in _OWN | _COMPUTING}
    arguments |= {"img_resolution": settings["img_resolution"], "in_channels": channels, "out_channels": channels}
    arguments["label_dim"] = settings.get("label_dim", 0)
    content = weights.read(path)
    with weights.naming(path):
        named = _reference_names(weights.tensors(content, "it"))
    if kind == "DhariwalUNet" or arguments.get("embedding_type", "positional") == "positional":
        named.pop("map_noise.freqs", None)  # which follow from their number, and are stored in newer versions
    with weights.naming(path):
        network = nvlabs.from_state_dict(kind, arguments, named)
    _normalise_as_there(network)
    levels = {name: settings[name] for name in ("sigma_data", "sigma_min", "sigma_max") if name in settings}
    denoiser = Denoiser(network, EDM(**levels))
    denoiser.facts["home"] = {"format": "physicsnemo", "settings": dict(settings)}
    return denoiser.eval()


def _reference_names(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the network by their names in NVlabs/edm, without the words of wrappers before them."""
    renamed = {}
    for name, value in stored.items():
        _, inside, rest = name.rpartition("model.")
        if not inside:
            continue
        for theirs, ours in _RENAMED.items():
            rest = rest.replace(theirs, ours)
        renamed[rest] = value.float() if value.itemsize < 2 else value
    if not renamed:
        raise ValueError("it holds no weights under 'model.', where EDMPrecond keeps its network")
    return renamed


@torch.no_grad()
def _normalise_as_there(network: Network) -> None:
    """Take into the weights of the normalisations that they divide by the deviation of a sample there.

    With n values in a group that is sqrt(n / (n - 1)) of the one that everybody else divides by: 5e-4 more at 1024
    values. It is so when a network is not being trained, whatever it was trained with, and for the resolution that
    the network was made for.
    """
    seen: dict[GroupNorm, Tensor] = {}
    norms = [module for module in network.modules() if isinstance(module, GroupNorm)]
    hooks = [
        norm.register_forward_pre_hook(lambda module, given: seen.__setitem__(module, given[0])) for norm in norms
    ]
    kind = next(network.parameters()).dtype
    network(torch.zeros(1, *network.sample_shape, dtype=kind), torch.zeros(1, dtype=kind), None, None)
    for hook in hooks:
        hook.remove()
    for norm, x in seen.items():
        count = x[0].numel() // norm.num_groups
        norm.weight.mul_(math.sqrt((count - 1) / count))


@home("physicsnemo")
def sample_at_home(
    denoiser: Denoiser,
    noise: Tensor,
    steps: int | str | None,
    labels: Tensor | None,
    step_noise: Tensor | None,
    *,
    sampler: str = "deterministic",
    num_steps: int = 18,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    solver: str = "heun",
    S_churn: float = 0.0,
    S_min: float = 0.0,
    S_max: float = math.inf,
    S_noise: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``deterministic_sampler`` or ``stochastic_sampler``: that of NVlabs/edm, without or with its churn."""
    one_of("sampler", sampler, ("deterministic", "stochastic"))
    return nvlabs.sample_at_home(
        denoiser,
        noise,
        steps,
        labels,
        step_noise,
        num_steps=num_steps,
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        rho=rho,
        solver=solver,
        S_churn=S_churn if sampler == "stochastic" else 0.0,
        S_min=S_min,
        S_max=S_max,
        S_noise=S_noise,
        generator=generator,
    )
