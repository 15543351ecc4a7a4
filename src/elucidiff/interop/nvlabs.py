"""The networks and network snapshots of NVlabs/edm, the reference implementation of Karras et al. 2022.

A snapshot there is a pickle that holds the program text of its own classes and runs it when opened. Here, the file
is read as data (:mod:`elucidiff.interop.pickle_data`): class names and constructor arguments say which of our
networks and preconditionings it is, PyTorch's weights-only reader reads the tensors, and the program text is skipped.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elucidiff import networks
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning
from elucidiff.design.preconditioning import Preconditioning
from elucidiff.interop import pickle_data
from elucidiff.interop.nvlabs_names import network_config, our_order, reference_name
from elucidiff.interop.pickle_data import Record
from elucidiff.networks.attention import SelfAttention

# Class of the wrapper -> our class, and its arguments there -> here.
_WRAPPERS: dict[str, tuple[type[Preconditioning], dict[str, str]]] = {
    "EDMPrecond": (
        preconditioning.EDM,
        {"sigma_data": "sigma_data", "sigma_min": "sigma_min", "sigma_max": "sigma_max"},
    ),
    "VPPrecond": (
        preconditioning.VP,
        {"beta_d": "beta_d", "beta_min": "beta_min", "M": "m", "epsilon_t": "epsilon_t"},
    ),
    "VEPrecond": (preconditioning.VE, {"sigma_min": "sigma_min", "sigma_max": "sigma_max"}),
    "iDDPMPrecond": (preconditioning.IDDPM, {"M": "m", "C_1": "c1", "C_2": "c2"}),
}


def load(path: str | os.PathLike[str], key: str = "ema") -> Denoiser:
    """Read a network snapshot (``network-snapshot-*.pkl``, or a published ``edm-*.pkl``); nothing in it is run.

    Args:
        path: the pickle.
        key: which of its networks: "ema" is the average that is meant for sampling.

    Returns:
        The denoiser on the CPU in float32, in evaluation mode. ``facts`` says where it came from.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is truncated or damaged, names a function or class that such a snapshot does not need,
            has no such network, or one that is unknown or does not fit its description. The message names the file.
    """
    data = Path(path).read_bytes()
    try:
        with warnings.catch_warnings():
            # PyTorch announces the end of the storage class in which these files keep their tensors.
            warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
            snapshot = pickle_data.read(data, _MAKERS)
        denoiser = _denoiser(snapshot, key)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    denoiser.facts["provenance"] = {"format": "NVlabs/edm snapshot", "file": Path(path).name, "network": key}
    return denoiser.eval()


def from_state_dict(
    class_name: str, init_kwargs: Mapping[str, Any], state_dict: Mapping[str, Tensor]
) -> networks.Network:
    """Our network with the reference's weights, without a preconditioning.

    Args:
        class_name: "SongUNet" or "DhariwalUNet".
        init_kwargs: its constructor arguments there (``img_resolution``, ``in_channels``, ``model_channels``, ...).
        state_dict: its parameters and buffers under the reference's names, in any floating type.

    Returns:
        The network in float32 (float64 if all weights are), in evaluation mode.

    Raises:
        ValueError: a class or argument is unknown, names are missing or unexpected, or a weight has a wrong shape or
            is not finite.
    """
    config = network_config(class_name, init_kwargs)
    with torch.device("meta"):  # neither memory nor random numbers for values that will be replaced
        network = networks.build(config)
    ours = network.state_dict()
    names = {name: reference_name(name, network.config) for name in ours}
    _check_names(set(names.values()), state_dict)
    _check_filters(config.get("resample_filter", (1, 1)), state_dict)
    heads = {name: layer.heads for name, layer in network.named_modules() if isinstance(layer, SelfAttention)}
    double = all(value.dtype == torch.float64 for value in state_dict.values())
    weights = {}
    for name, theirs in names.items():
        value, shape = state_dict[theirs].detach(), ours[name].shape
        # Layers around the attention are convolutions there, with kernels of side 1, and linear here.
        if value.shape[: len(shape)] != shape or value.numel() != shape.numel():
            raise ValueError(f"the weights {theirs} of shape {tuple(value.shape)} do not fit the network's arguments")
        value = value.reshape(shape).to(torch.float64 if double else torch.float32, copy=True)
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"the weights {theirs} are not all finite")
        weights[name] = our_order(name, value, heads.get(name.partition(".qkv.")[0], 1))
    network.load_state_dict(weights, assign=True)
    return network.eval()


def _check_names(expected: set[str], state_dict: Mapping[str, Tensor]) -> None:
    missing = sorted(expected - state_dict.keys())
    # Filters follow from the arguments: ours are not stored, or only once, where the reference stores every copy.
    unexpected = sorted(name for name in state_dict.keys() - expected if not name.endswith("resample_filter"))
    for what, names in (("lack", missing), ("have, unexpectedly,", unexpected)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(f"the weights {what} {', '.join(names[:3])}{more}")


def _check_filters(taps: Sequence[float], state_dict: Mapping[str, Tensor]) -> None:
    filter_1d = torch.tensor(taps, dtype=torch.float64) / sum(taps)
    kernel = torch.outer(filter_1d, filter_1d)
    for name, value in state_dict.items():
        if name.endswith("resample_filter") and not (
            value.shape[2:] == kernel.shape and torch.allclose(value[0, 0].double(), kernel, rtol=1e-3)
        ):
            raise ValueError(f"the weights {name} are not the filter {list(taps)} of the network's arguments")


def _denoiser(snapshot: Any, key: str) -> Denoiser:
    if not isinstance(snapshot, dict) or not isinstance(snapshot.get(key), Record):
        found = ", ".join(map(str, snapshot)) if isinstance(snapshot, dict) else type(snapshot).__name__
        raise ValueError(f"there is no network {key!r} in it, only: {found}")
    wrapper = snapshot[key]
    if wrapper.kind not in _WRAPPERS:
        raise ValueError(f"preconditioning {wrapper.kind!r} is unknown: the known ones are {', '.join(_WRAPPERS)}")
    try:
        make, arguments = _WRAPPERS[wrapper.kind]
        settings = {ours: wrapper.state[theirs] for theirs, ours in arguments.items() if theirs in wrapper.state}
        model = wrapper.state["_modules"]["model"]
        if model.state["_init_args"]:
            raise ValueError(f"{model.kind} was made with arguments that have no names")
        network = from_state_dict(model.kind, model.state["_init_kwargs"], dict(_tensors(model)))
        denoiser = Denoiser(network, make(**settings))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"network {key!r} is not laid out as in NVlabs/edm ({error!r})") from error
    if isinstance(described := snapshot.get("dataset_kwargs"), dict):
        denoiser.facts["data"] = {
            name: value for name, value in described.items() if isinstance(value, str | int | float | None)
        }
    return denoiser


def _tensors(module: Record, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The parameters and buffers of a module and all its children by their joined names."""
    for kind in ("_parameters", "_buffers"):
        for name, value in module.state[kind].items():
            if value is not None:
                yield prefix + name, value
    for name, child in module.state["_modules"].items():
        if child is not None:
            yield from _tensors(child, f"{prefix}{name}.")


def _persistent_object(description: dict[str, Any]) -> Record:
    return Record(description["class_name"], state=description["state"])


def _storage(data: bytes) -> Tensor:
    """All numbers of a storage that is saved by itself in PyTorch's old format."""
    try:
        storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return torch.empty(0, dtype=storage.dtype).set_(storage.untyped())
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, UnicodeError, struct.error) as error:
        raise ValueError(f"a tensor in it cannot be read ({type(error).__name__})") from error


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    try:
        return storage.as_strided(size, stride, offset)
    except RuntimeError as error:
        raise ValueError("a tensor in it is larger than its storage") from error


def _number(dtype: Record, data: bytes) -> float:
    """A NumPy scalar as a Python number."""
    code = dtype.arguments[0]
    if not re.fullmatch(r"[biuf][1248]", code):
        raise ValueError(f"a NumPy number of type {code!r} was not expected")
    number: float = np.frombuffer(data, (dtype.state[1] if dtype.state else "=").replace("|", "=") + code)[0].item()
    return number


# What stands for the functions and classes that snapshots name. Nothing else may be named.
_MAKERS: pickle_data.Makers = {
    "torch_utils.persistence _reconstruct_persistent_obj": _persistent_object,
    "torch.nn.modules.container ModuleDict": lambda: Record("ModuleDict"),
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda value, *_: value,
    "torch.storage _load_from_bytes": _storage,
    "collections OrderedDict": dict,
    "numpy._core.multiarray scalar": _number,
    "numpy.core.multiarray scalar": _number,
    "numpy dtype": lambda *arguments: Record("numpy dtype", arguments),
}
