"""The networks and network snapshots of NVlabs/edm and NVlabs/edm2, the references of Karras et al. 2022 and 2024.

A snapshot there is a pickle that holds the program text of its own classes and runs it when opened. Here, the file
is read as data (:mod:`elucidiff.interop.pickle_data`): class names and constructor arguments say which of our
networks and preconditionings it is, the tensors are views of stored numbers (:mod:`elucidiff.interop.torch_storage`),
and the program text is skipped. The network is made only as far as the file has weights for it.
"""

from __future__ import annotations

import math
import mmap
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from elucidiff import networks
from elucidiff.denoisers.opening import opens
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning
from elucidiff.design.preconditioning import Preconditioning
from elucidiff.design.steps import karras
from elucidiff.interop import pickle_data
from elucidiff.interop.home_sampling import along, home, one_of, step_count
from elucidiff.interop.nvlabs_names import network_blueprint, our_order, reference_name
from elucidiff.interop.pickle_data import Name, Record
from elucidiff.interop.torch_storage import (
    ARCHIVE,
    Storage,
    StoredTensor,
    StoredWeights,
    beginning_of_pickle,
    read_archive,
)
from elucidiff.interop.weights import check_finite
from elucidiff.networks.layers import SelfAttention, filter_kernel
from elucidiff.networks.magnitude_preserving import UnitAttention
from elucidiff.sampling.churn import Churn
from elucidiff.untrusted import clipped, open_regular, printable

_MOST_NUMBER = 1 << 31
_MOST_TENSORS = 1 << 14
_LONGEST_NAME = 1 << 10
_MOST_CHANNELS = 64
_PERSISTENT, _BEGINNING = b"torch_utils.persistence", 1 << 12
_DATA_ARGUMENTS = {"class_name", "path", "resolution", "use_labels", "max_size", "random_seed", "xflip", "cache"}

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


def is_pickle(path: Path) -> bool:
    """True if a file begins as a pickle does (protocols 2 to 5), which of all that is opened are snapshots alone."""
    if not path.is_file():
        return False
    with open_regular(path) as file:
        start = file.read(2)
    return len(start) == 2 and start[:1] == b"\x80" and 2 <= start[1] <= 5


def is_training_state(path: Path) -> bool:
    """True if a file is an archive of ``torch.save`` whose pickle begins with an object of the reference's."""
    if not path.is_file():
        return False
    with open_regular(path) as file:
        return _PERSISTENT in beginning_of_pickle(file, _BEGINNING)


@opens(lambda path: is_pickle(path) or is_training_state(path))
def load(path: str | os.PathLike[str], key: str = "ema") -> Denoiser:
    """Read a network snapshot (``network-snapshot-*.pkl``, or a published ``edm-*.pkl``); nothing in it is run.

    A training state (``training-state-*.pt``) of EDM is read, too. It holds the network as it is trained, "net", and
    no average, so that one is taken, which ``facts["provenance"]["network"]`` says; the snapshot beside it is better.

    Snapshots of EDM2 are read, too. What they say of their encoder, which takes pictures to what the network was
    trained on and back, is in ``facts["encoder"]``: ``{"type": "rgb"}``, or ``{"type": "stability-vae", "vae_name":
    ..., "scale": [...], "bias": [...]}`` with latent = (mean + noise std) scale + bias.

    Args:
        path: the pickle.
        key: which of its networks: "ema" is the average that is meant for sampling. Of a training state, "net".

    Returns:
        The denoiser on the CPU in float32, in evaluation mode. ``facts`` says where it came from.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is truncated or damaged, names a function or class that such a snapshot does not need,
            has no such network, or one that is unknown or does not fit its description. The message names the file.
    """
    try:
        with open_regular(path) as file:
            # Mapped, so that only what is looked at takes memory.
            size = os.fstat(file.fileno()).st_size
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
            if is_archive := bytes(data[: len(ARCHIVE)]) == ARCHIVE:
                content = read_archive(file, data, _MAKERS | _OF_PROTOCOL_2)
            else:
                content = pickle_data.read(data, _MAKERS)
        key = "net" if is_archive and key == "ema" else key
        denoiser = _denoiser(content, key, size)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"cannot read {printable(os.fspath(path))}: {clipped(str(error), 500)}") from None
    denoiser.facts["provenance"] = {"format": _format(denoiser), "file": Path(path).name, "network": key}
    denoiser.facts["home"] = {"format": "nvlabs", "settings": {}}
    return denoiser.eval()


@home("nvlabs")
def sample_at_home(
    denoiser: Denoiser,
    noise: Tensor,
    steps: int | str | None,
    labels: Tensor | None,
    step_noise: Tensor | None,
    *,
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
    """``edm_sampler``: Algorithm 2 of Karras et al. 2022 on its own steps, within the range of the network."""
    low, high = max(sigma_min, denoiser.sigma_min), min(sigma_max, denoiser.sigma_max)
    sigmas = karras(step_count(num_steps if steps is None else steps), low, high, rho)
    churn = Churn(S_churn, S_min, S_max, S_noise) if S_churn else None
    name = one_of("solver", solver, ("heun", "euler"))
    return along(denoiser, noise, sigmas, name, labels, churn, step_noise, generator)


def _format(denoiser: Denoiser) -> str:
    return "NVlabs/edm2 snapshot" if isinstance(denoiser.network, networks.EDM2) else "NVlabs/edm snapshot"


def from_state_dict(
    class_name: str, init_kwargs: Mapping[str, Any], state_dict: Mapping[str, Tensor]
) -> networks.Network:
    """Our network with the reference's weights, without a preconditioning.

    Args:
        class_name: "SongUNet" or "DhariwalUNet" of EDM; of EDM2 "UNet", or "Precond" for the wrapper, whose state has
            the log variance, too.
        init_kwargs: its constructor arguments there (``img_resolution``, ``in_channels``, ``model_channels``, ...).
        state_dict: its parameters and buffers under the reference's names, in any floating type.

    Returns:
        The network in float32 (float64 if all weights are), in evaluation mode.

    Raises:
        ValueError: a class or argument is unknown, names are missing or unexpected, or a weight has a wrong shape or
            is not finite.
    """
    network = cast("networks.Network", network_blueprint(class_name, init_kwargs).outline(len(state_dict)))
    ours = network.state_dict()
    taps = getattr(network.settings, "resample_filter", (1, 1))
    weights = {}
    if isinstance(network, networks.EDM2):  # there, filters are not among the weights
        weights = {name: filter_kernel(taps, network.dims) for name in ours if name.endswith("resample.kernel")}
    names = {name: reference_name(name, network) for name in ours.keys() - weights.keys()}
    _check_names(set(names.values()), state_dict)
    _check_filters(taps, state_dict)
    attentions = SelfAttention | UnitAttention
    heads = {name: layer.heads for name, layer in network.named_modules() if isinstance(layer, attentions)}
    double = all(value.dtype == torch.float64 for value in state_dict.values())
    for name, theirs in names.items():
        value, shape = state_dict[theirs].detach(), ours[name].shape
        # Layers around the attention are convolutions there, with kernels of side 1, and linear here.
        if value.shape[: len(shape)] != shape or value.numel() != shape.numel():
            raise ValueError(f"the weights {theirs} of shape {tuple(value.shape)} do not fit the network's arguments")
        value = value.reshape(shape).to(torch.float64 if double else torch.float32, copy=True)
        check_finite(theirs, value)
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
            raise ValueError(f"the weights {what} {', '.join(map(clipped, names[:3]))}{more}")


def _check_filters(taps: Sequence[float], state_dict: Mapping[str, Tensor]) -> None:
    filter_1d = torch.tensor(taps, dtype=torch.float64) / sum(taps)
    kernel = torch.outer(filter_1d, filter_1d)
    for name in filter(lambda name: name.endswith("resample_filter"), state_dict):
        value = state_dict[name]
        fits = value.ndim == 4 and 0 not in value.shape and value.shape[2:] == kernel.shape
        if not (fits and torch.allclose(value[0, 0].double(), kernel, rtol=1e-3)):
            raise ValueError(
                f"the weights {clipped(name)} are not the filter {list(taps)} of the network's arguments"
            )


def _denoiser(snapshot: Any, key: str, file_size: int) -> Denoiser:
    if not isinstance(snapshot, dict) or not isinstance(snapshot.get(key), Record):
        found = ", ".join(str(name) for name in snapshot) if isinstance(snapshot, dict) else type(snapshot).__name__
        raise ValueError(f"there is no network {key!r} in it, only: {clipped(found, 200)}")
    wrapper = snapshot[key]
    if wrapper.kind == "Precond":
        denoiser = _edm2_denoiser(wrapper, file_size)
        denoiser.facts |= _encoder(snapshot.get("encoder"))
        return _with_data(denoiser, snapshot)
    if wrapper.kind not in _WRAPPERS:
        known = ", ".join((*_WRAPPERS, "Precond"))
        raise ValueError(f"preconditioning '{clipped(wrapper.kind)}' is unknown: the known ones are {known}")
    make, arguments = _WRAPPERS[wrapper.kind]
    given = _entries(wrapper)
    settings = {ours: _setting(theirs, given[theirs]) for theirs, ours in arguments.items() if theirs in given}
    model = _entries(wrapper, "_modules").get("model")
    if not isinstance(model, Record):
        raise ValueError(f"network {key!r} is not laid out as in NVlabs/edm: its wrapper holds no model")
    if _entries(model).get("_init_args"):
        raise ValueError(f"{clipped(model.kind)} was made with arguments that have no names")
    weights = StoredWeights(_stored(model), file_size)
    denoiser = Denoiser(from_state_dict(model.kind, _entries(model, "_init_kwargs"), weights), make(**settings))
    return _with_data(denoiser, snapshot)


def _edm2_denoiser(wrapper: Record, file_size: int) -> Denoiser:
    """The network of EDM2 with its log variance: all of them are arguments and weights of the wrapper."""
    state = _entries(wrapper)
    if state.get("_init_args"):
        raise ValueError("Precond was made with arguments that have no names")
    unet = _entries(wrapper, "_modules").get("unet")
    if not isinstance(unet, Record) or unet.kind != "UNet":
        raise ValueError("a Precond in it is not laid out as in NVlabs/edm2: it holds no UNet")
    weights = StoredWeights(_stored(wrapper), file_size)
    network = from_state_dict("Precond", _entries(wrapper, "_init_kwargs"), weights)
    return Denoiser(network, preconditioning.EDM(sigma_data=_setting("sigma_data", state.get("sigma_data", 0.5))))


def _encoder(encoder: Any) -> dict[str, Any]:
    """The encoder that a file records: the way from pictures to the network's training data."""
    if encoder is None:
        return {}
    if not isinstance(encoder, Record) or encoder.kind not in ("StandardRGBEncoder", "StabilityVAEEncoder"):
        raise ValueError("the encoder in it is none of NVlabs/edm2")
    if encoder.kind == "StandardRGBEncoder":
        return {"encoder": {"type": "rgb"}}
    state = _entries(encoder)
    name, scale, bias = state.get("vae_name"), *(_numbers(key, state.get(key)) for key in ("scale", "bias"))
    if not isinstance(name, str) or len(name) > _LONGEST_NAME or not name.isprintable() or len(scale) != len(bias):
        raise ValueError("the encoder in it is not laid out as in NVlabs/edm2")
    return {"encoder": {"type": "stability-vae", "vae_name": name, "scale": scale, "bias": bias}}


def _numbers(name: str, array: Any) -> list[float]:
    """A short NumPy vector as Python numbers."""
    match array:
        case Record("numpy array", state=(int(), (int(count),), Record("numpy dtype") as dtype, bool(), data)):
            if 0 < count <= _MOST_CHANNELS and isinstance(data, bytes) and len(data) % count == 0:
                size = len(data) // count
                numbers = [_number(dtype, data[size * index : size * (index + 1)]) for index in range(count)]
                if all(math.isfinite(number) for number in numbers):
                    return numbers
    raise ValueError(f"the {name} of the encoder in it is no short vector of numbers")


def _with_data(denoiser: Denoiser, snapshot: dict[Any, Any]) -> Denoiser:
    if isinstance(described := snapshot.get("dataset_kwargs"), dict):
        denoiser.facts["data"] = {name: value for name, value in described.items() if _is_fact(name, value)}
    return denoiser


def _setting(name: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or math.isnan(value) or (isinstance(value, int) and abs(value) > _MOST_NUMBER):
        raise ValueError(f"the setting {name} of the preconditioning is no number, or a huge one")
    return float(value) if isinstance(value, float) else int(value)


def _is_fact(name: Any, value: Any) -> bool:
    """True if something is an argument of the reference's data sets, and a plain one."""
    if isinstance(value, str):
        return name in _DATA_ARGUMENTS and len(value) <= _LONGEST_NAME and value.isprintable()
    plain = value is None or (isinstance(value, int | float) and abs(value) <= _MOST_NUMBER)
    return name in _DATA_ARGUMENTS and plain


def _entries(record: Record, name: str | None = None) -> dict[str, Any]:
    """The state of an object, or one dict in it."""
    found = record.state if name is None or not isinstance(record.state, dict) else record.state.get(name)
    if not isinstance(found, dict) or not all(isinstance(entry, str) for entry in found):
        raise ValueError(
            f"a {clipped(record.kind)} in it is not laid out as in NVlabs/edm: it lacks {name or 'a state'}"
        )
    return found


def _stored(model: Record) -> dict[str, StoredTensor]:
    """The parameters and buffers of a module and all its children by their joined names."""
    found: dict[str, StoredTensor] = {}
    waiting = [("", model)]
    while waiting:
        prefix, module = waiting.pop()
        if len(prefix) > _LONGEST_NAME or len(found) > _MOST_TENSORS:
            raise ValueError("the network in it has more layers, or layers within layers, than any network")
        for kind in ("_parameters", "_buffers"):
            for name, value in _entries(module, kind).items():
                if isinstance(value, StoredTensor):
                    found[prefix + name] = value
                elif value is not None:
                    raise ValueError(f"the weights {clipped(prefix + name)} are no tensor")
        for name, child in _entries(module, "_modules").items():
            if isinstance(child, Record):
                waiting.append((f"{prefix}{name}.", child))
            elif child is not None:
                raise ValueError(f"the layer {clipped(prefix + name)} is no module")
    return found


def _persistent_object(description: dict[str, Any]) -> Record:
    kind, state = description["class_name"], description["state"]
    if not isinstance(kind, str) or not isinstance(state, dict):
        raise ValueError("the pickle is damaged: an object in it has no class name, or no state")
    return Record(kind, state=state)


def _tensor(
    storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> StoredTensor:
    return StoredTensor(storage, offset, tuple(size), tuple(stride))


def _ordered_dict() -> dict[Any, Any]:
    return {}  # without arguments: its items follow, one by one, and their keys are looked at


def _storage(content: bytes | memoryview) -> Storage:
    return Storage(memoryview(content))


def _bytes(text: str, coding: str) -> bytes:
    if coding != "latin1":
        raise ValueError(f"the pickle is damaged: it holds bytes as text in '{clipped(str(coding))}'")
    return text.encode("latin-1")


def _array(kind: Name, *_: object) -> Record:
    if kind.name != "numpy ndarray":
        raise ValueError("the pickle is damaged: it makes an array of something else")
    return Record("numpy array")


def _number(dtype: Record, data: bytes | memoryview) -> float:
    """A NumPy scalar as a Python number."""
    code = dtype.arguments[0]
    order = dtype.state[1] if dtype.state else "="
    if not re.fullmatch(r"[biuf][1248]", code) or order not in ("<", ">", "=", "|"):
        raise ValueError(f"a NumPy number of type '{clipped(str(code))}' was not expected")
    number: float = np.frombuffer(data, order.replace("|", "=") + code)[0].item()
    return number


# What stands for the functions and classes that snapshots name. Nothing else may be named.
_MAKERS: dict[str, Callable[..., Any]] = {
    "torch_utils.persistence _reconstruct_persistent_obj": _persistent_object,
    "torch.nn.modules.container ModuleDict": lambda: Record("ModuleDict"),
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda value, *_: value,
    "torch.storage _load_from_bytes": _storage,
    "collections OrderedDict": _ordered_dict,
    "numpy._core.multiarray scalar": _number,
    "numpy.core.multiarray scalar": _number,
    "numpy dtype": lambda *arguments: Record("numpy dtype", arguments),
    "numpy._core.multiarray _reconstruct": _array,
    "numpy.core.multiarray _reconstruct": _array,
    "numpy ndarray": lambda *_: Record("numpy array"),
    "dnnlib.util EasyDict": _ordered_dict,
}
# What plain sets and bytes are in the older form that torch.save writes.
_OF_PROTOCOL_2: dict[str, Callable[..., Any]] = {
    "__builtin__ set": lambda items=(): list(items),
    "_codecs encode": _bytes,
}
