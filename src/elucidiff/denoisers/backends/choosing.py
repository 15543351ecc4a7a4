"""The denoiser with another backend, and which backend to draw samples with, by the amount of work.

The choice is a function of the work alone and never of a measurement, since a job that is gone on with, or shared by
processes, must compute all of its samples alike.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from elucidiff.denoisers.adapters import AdaptedDenoiser, InUnits
from elucidiff.denoisers.backends.onnx import is_installed, onnx
from elucidiff.denoisers.backends.pytorch import (
    CalledAsOurs,
    CalledByTime,
    Compute,
    ReadyNetwork,
    check_agreement,
    compiled,
    eager,
    in_one_line,
)
from elucidiff.denoisers.base import AnyDenoiser, DenoiserModule
from elucidiff.denoisers.preconditioned import Denoiser, floating_type
from elucidiff.networks import Network
from elucidiff.networks.base import Blueprint
from elucidiff.suggest import suggestion

Backend = Literal["eager", "compile", "onnx"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

SPEEDS = {"cpu": 60e9, "cuda": 10e12}
"""Floating-point operations a second of a CPU's thread and of an accelerator in float32: rough, and of no machine."""

SMALL, NARROW = 0.1e9, 0.5e9
"""Operations for one sample below which a network in two dimensions is small, or narrow: see :func:`payoffs`."""


@dataclass(frozen=True)
class Payoff:
    """Costs and gains of another way of computing.

    Attributes:
        seconds: time to make it ready.
        gain: how many times faster it is then.
    """

    seconds: float
    gain: float

    def worth(self, seconds: float) -> bool:
        """True if work of so many ``seconds`` saves at least twice what making it ready costs."""
        return self.saved(seconds) >= 2 * self.seconds

    def saved(self, seconds: float) -> float:
        """The time that work of so many ``seconds`` takes less, not counting the time to make it ready."""
        return seconds * (1 - 1 / self.gain)


def forward_flops(blueprint: Blueprint) -> int:
    """Floating-point operations of a network's forward pass for one sample, counted without computing it.

    Args:
        blueprint: how it is built.
    """
    from torch.utils.flop_counter import FlopCounterMode  # which takes a moment, and is rarely needed

    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        blueprint.build()(torch.empty(1, *blueprint.sample_shape), torch.empty(1))
    return int(counter.get_total_flops())


_ONNX, _ONNX_NARROW = Payoff(12.0, 1.4), Payoff(12.0, 1.1)
_COMPILE, _COMPILE_CUDA = Payoff(90.0, 1.25), Payoff(60.0, 1.25)
_BEST = {"cpu": _ONNX, "cuda": _COMPILE_CUDA}


def with_backend(
    denoiser: DenoiserModule,
    backend: Backend,
    *,
    batch_sizes: Sequence[int] = (16,),
    file: Path | None = None,
) -> DenoiserModule:
    """The same denoiser for sampling, faster: the network F is another program, its preconditioning stays as it is.

    It takes no gradients, cannot be trained or saved, and differs from ``denoiser`` by rounding: backends other than
    ``eager`` are compared with it on a random batch first. ``compile`` takes minutes to make it, ``onnx`` seconds;
    on a CPU both do it for as many threads as PyTorch has meanwhile.

    Args:
        denoiser: where it is to compute; it stays as it is.
        backend: ``eager``, PyTorch; ``compile``, machine code by ``torch.compile``; ``onnx``, ONNX Runtime.
        batch_sizes: sizes of the batches that it will be called with, such as the ``batch_size`` of
            :meth:`.Sampler.run`, and twice that under classifier-free guidance. Others take a while when they come.
        file: where ``onnx`` keeps the exported network, and finds it if another process has exported it already; by
            default nowhere.

    Raises:
        ValueError: the backend is unknown, is not installed, cannot compute the network, or gets another result; or
            the denoiser shows no network, as a plain function, or takes conditions, whose shapes nobody knows.

    >>> import elucidiff as ed
    >>> network = ed.networks.UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
    >>> denoiser = ed.Denoiser(network, ed.preconditioning.EDM()).eval()
    >>> faster = ed.with_backend(denoiser, "eager")
    >>> x = torch.ones(16, 1, 8, 8)
    >>> torch.allclose(faster(x, 1.0), denoiser(x, 1.0), atol=1e-5)
    True
    """
    if backend not in BACKENDS:
        raise ValueError(f"there is no backend {backend!r}; {suggestion(backend, BACKENDS)}")
    if denoiser.known_labels.field and backend != "eager":
        raise ValueError(f"the backend {backend} does not know conditions that are fields: use the backend eager")
    if backend == "eager" and (denoiser.known_labels.field or not isinstance(denoiser, Denoiser)):
        return denoiser
    made = _made(denoiser, backend, file)
    for size in batch_sizes if backend != "eager" else ():
        try:
            check_agreement(made, denoiser, size, denoiser.device)
        except Exception as error:  # code that others make can fail in any way
            raise ValueError(
                f"the backend {backend} cannot compute this network ({in_one_line(error)}): use the backend eager"
            ) from error
    return made


def _made(denoiser: DenoiserModule, backend: Backend, file: Path | None) -> DenoiserModule:
    """``denoiser`` around what a backend makes of its network."""
    if isinstance(denoiser, InUnits):
        inner = _made(denoiser.denoiser, backend, file)
        assert isinstance(inner, AdaptedDenoiser)
        return InUnits(inner, denoiser.factor, denoiser.offset).eval()
    made: DenoiserModule
    if isinstance(denoiser, Denoiser):
        network = denoiser.network if isinstance(denoiser.network, Network) else CalledAsOurs(denoiser)
        made = Denoiser(_ready(network, backend, file, floating_type(network)), denoiser.preconditioning)
    elif isinstance(denoiser, AdaptedDenoiser):
        made = _adapted(denoiser, backend, file)
    else:
        raise ValueError(
            f"the backend {backend} computes networks, and a {type(denoiser).__name__} shows none: use the backend "
            "eager"
        )
    made.facts = denoiser.facts
    return made.eval()


def _adapted(denoiser: AdaptedDenoiser, backend: Backend, file: Path | None) -> AdaptedDenoiser:
    why = (
        "takes conditions whose shapes are not known" if denoiser.any_labels
        else "does not say what shape its samples have" if not denoiser.sample_shape
        else None
    )  # fmt: skip
    if why is not None:
        raise ValueError(f"the backend {backend} cannot compute a model that {why}: use the backend eager")
    times, _ = denoiser.time.at(denoiser.round_sigma(torch.ones(1, dtype=torch.float64)))
    dtype = denoiser.network_dtype
    time_dtype = dtype if times.is_floating_point() else times.dtype
    made = AdaptedDenoiser(
        _ready(CalledByTime(denoiser), backend, file, dtype, time_dtype),
        denoiser.predicts,
        denoiser.time,
        label_dim=denoiser.label_dim,
        dtype=dtype,
        clip=denoiser.clip,
        sample_shape=denoiser.sample_shape,
    )
    made.usual_clip = denoiser.usual_clip
    return made


def _ready(
    network: nn.Module,
    backend: Backend,
    file: Path | None,
    dtype: torch.dtype,
    time_dtype: torch.dtype = torch.float32,
) -> ReadyNetwork:
    """The result of a backend for a network that is called as ours are, with inputs of these types."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with tempfile.TemporaryDirectory(prefix="elucidiff-") as folder:
        if backend == "eager":
            compute = eager(network, device)
        elif backend == "compile":
            compute = compiled(network, device)
        else:
            where, threads = file or Path(folder) / "network.onnx", torch.get_num_threads()
            compute = onnx(network, device, threads, where, dtype=dtype, time_dtype=time_dtype)
            if isinstance(network, CalledByTime) and network.label_dim:
                compute = _LabelsOrNone(compute, network)
    return ReadyNetwork(compute, network, device, any_batch_size=backend != "compile")


class _LabelsOrNone(nn.Module):
    """A program for labels; without any, which networks from elsewhere are asked otherwise, the network itself."""

    def __init__(self, compute: Compute, network: nn.Module) -> None:
        super().__init__()
        self.compute, self.network = compute, network

    def forward(self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None) -> Tensor:
        asked: Compute = self.network if class_labels is None else self.compute
        return asked(x, noise_labels, class_labels)


@dataclass(frozen=True)
class Choice:
    """A backend, and why it was chosen.

    Attributes:
        backend: its name.
        why: in a few words.
    """

    backend: Backend
    why: str


def payoffs(device: str, dims: int, flops: int) -> dict[Backend, Payoff]:
    """Costs and gains of other backends than ``eager``; those that are not there gain nothing.

    Measured on one core with AVX2 (PyTorch 2.14, ONNX Runtime 1.32). Where a network spends its time on convolutions
    of many channels, all backends compute these at the processor's peak. ONNX Runtime wins where that is not so, and
    loses by half in three dimensions. The figures of CUDA are those of training.

    Args:
        device: its type.
        dims: spatial dimensions of a sample.
        flops: operations of the network for one sample.
    """
    if device == "cuda":
        return {"compile": _COMPILE_CUDA}
    if device != "cpu" or dims == 3:
        return {}
    if dims == 1 or flops < SMALL:
        return {"onnx": _ONNX, "compile": _COMPILE}
    return {"onnx": _ONNX_NARROW} if flops < NARROW else {}


def choose(
    denoiser: AnyDenoiser,
    evaluations: float | Callable[[], float],
    device: str,
    threads: int = 1,
    *,
    at_most: float = math.inf,
) -> Choice:
    """The backend that saves most time, and ``eager`` if none saves at least twice the time that it takes to make.

    Args:
        denoiser: whose network is to be computed.
        evaluations: of the network in the whole of the work: samples times network evaluations of each. Or what
            counts them, called only if their number decides.
        device: type of the device.
        threads: of a CPU.
        at_most: what they cannot exceed, known without counting.
    """
    network = _network_of(denoiser)
    if not isinstance(network, Network):
        what = "this denoiser" if network is None else f"its {type(network).__name__} network"
        return Choice("eager", f"what {what} costs is not known")
    if device not in SPEEDS:
        return Choice("eager", f"others are not tried on {device}")
    speed = SPEEDS[device] * (threads if device == "cpu" else 1)
    # Counting takes a second, for what the counter imports. So first what it cannot exceed but by attention: all
    # weights at every position.
    most = _most_flops(network) / speed
    if _BEST[device].worth(most * at_most):
        at_most = float(evaluations() if callable(evaluations) else evaluations)
    if not _BEST[device].worth(most * at_most):
        return Choice("eager", f"{_duration(most * at_most)} of computing at most, too little for another to pay")
    flops = forward_flops(network.blueprint)
    seconds = flops * at_most / speed
    work = f"about {_duration(seconds)} of computing"
    known = payoffs(device, network.dims, flops)
    if not known:
        return Choice("eager", "no other is faster for such a network")
    missing = "" if "onnx" not in known or is_installed() else "; for onnx, pip install 'elucidiff[onnx]'"
    there = {name: payoff for name, payoff in known.items() if name != "onnx" or is_installed()}
    worth = {name: payoff for name, payoff in there.items() if payoff.worth(seconds)}
    if not worth:
        return Choice("eager", f"{work}, too little for another to pay{missing}")
    best = max(worth, key=lambda name: worth[name].saved(seconds) - worth[name].seconds)
    gain = worth[best].gain
    return Choice(best, f"{work}, which it does {gain:g} times as fast once made{missing}")


def _network_of(denoiser: AnyDenoiser) -> nn.Module | None:
    return denoiser.network if isinstance(denoiser, Denoiser) else None


def _most_flops(network: Network) -> int:
    return 2 * sum(weight.numel() for weight in network.parameters()) * math.prod(network.sample_shape[1:])


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.0f} h"
