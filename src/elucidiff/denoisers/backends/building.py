"""A denoiser whose network another backend computes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import torch

from elucidiff.denoisers.backends.agreement import check_agreement
from elucidiff.denoisers.backends.compiled import compiled
from elucidiff.denoisers.backends.eager import eager
from elucidiff.denoisers.backends.onnx import onnx
from elucidiff.denoisers.backends.ready import Described, ReadyNetwork
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.networks import Network
from elucidiff.networks.computing import in_one_line
from elucidiff.suggest import suggestion

Backend = Literal["eager", "compile", "onnx"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)


def with_backend(
    denoiser: Denoiser,
    backend: Backend,
    *,
    batch_sizes: Sequence[int] = (16,),
    file: Path | None = None,
) -> Denoiser:
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
        ValueError: the backend is unknown, is not installed, cannot compute the network, or gets another result.
    """
    if backend not in BACKENDS:
        raise ValueError(f"there is no backend {backend!r}; {suggestion(backend, BACKENDS)}")
    network = denoiser.network if isinstance(denoiser.network, Network) else Described(denoiser)
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with tempfile.TemporaryDirectory(prefix="elucidiff-") as folder:
        if backend == "eager":
            compute = eager(network, device)
        elif backend == "compile":
            compute = compiled(network, device)
        else:
            compute = onnx(network, device, torch.get_num_threads(), file or Path(folder) / "network.onnx")
    made = Denoiser(ReadyNetwork(compute, network, device), denoiser.preconditioning).eval()
    made.facts = denoiser.facts
    for size in batch_sizes if backend != "eager" else ():
        try:
            check_agreement(made, denoiser, size, device)
        except Exception as error:  # code that others make can fail in any way
            raise ValueError(
                f"the backend {backend} cannot compute this network ({in_one_line(error)}): use the backend eager"
            ) from error
    return made
