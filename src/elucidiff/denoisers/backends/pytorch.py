"""A network made ready for inference by PyTorch itself: as it is (``eager``), or compiled (``compile``)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from elucidiff.denoisers.adapters import AdaptedDenoiser
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.networks import Network
from elucidiff.networks.magnitude_preserving import folded

TOLERANCE = 1e-4
"""The largest difference that rounding may make, relative to the largest value (or to 1, if that is more)."""

_LEVELS = (2e-3, 80.0)

Compute = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From ``x`` (B, C, *spatial), ``noise_labels`` (B,) or (1,), and ``class_labels`` (B or 1, label_dim) or None."""


class CalledAsOurs(nn.Module):
    """A network of any signature, called as ours are, which says of itself what its denoiser knows.

    Args:
        denoiser: whose network it is.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.network, self.takes = denoiser.network, denoiser.takes
        self.sample_shape, self.label_dim = denoiser.sample_shape, denoiser.label_dim
        self.label_presence, self.label_dropout = denoiser.label_presence, denoiser.label_dropout

    def forward(self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """The raw output F."""
        return self.takes.call(self.network, x, noise_labels, class_labels, None)


class CalledByTime(nn.Module):
    """A network from elsewhere, called as ours are: with a time in place of c_noise, and labels only where there are.

    Args:
        denoiser: whose network it is.
    """

    def __init__(self, denoiser: AdaptedDenoiser) -> None:
        super().__init__()
        self.network = denoiser.network
        self.sample_shape, self.label_dim = denoiser.sample_shape, denoiser.label_dim

    def forward(self, x: Tensor, t: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """Its prediction."""
        return self.network(x, t) if class_labels is None else self.network(x, t, class_labels)


class ReadyNetwork(nn.Module):
    """A network F that cannot be trained, differentiated or saved: the one that it was made of can.

    Args:
        compute: what a backend has made of ``network``.
        network: what it says of itself, this one says too.
        device: where it computes.
        any_batch_size: whether it takes batches of any size at once; else each size takes its time to be made.
    """

    def __init__(
        self, compute: Compute, network: nn.Module, device: torch.device, *, any_batch_size: bool = True
    ) -> None:
        super().__init__()
        self.any_batch_size = any_batch_size
        self.compute = compute
        self.sample_shape = tuple(getattr(network, "sample_shape", ()))
        self.label_dim = int(getattr(network, "label_dim", 0))
        self.label_presence = bool(getattr(network, "label_presence", False))
        self.label_dropout: float | None = getattr(network, "label_dropout", None)
        # Whoever asks a module for its device looks at its tensors, and a backend may have none.
        self.register_buffer("place", torch.empty(0, device=device), persistent=False)
        self.eval()

    @torch.no_grad()
    def forward(
        self,
        x: Tensor,
        noise_labels: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """The raw output F; see :meth:`.Network.forward`.

        Raises:
            ValueError: there are augmentation labels, which belong to training.
        """
        if augment_labels is not None:
            raise ValueError(
                "a network that was made ready for sampling takes no augmentation labels: leave them out"
            )
        return self.compute(x, noise_labels, class_labels)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever ``mode`` is."""
        return super().train(False)


def one_a_sample(
    x: Tensor, noise_labels: Tensor, class_labels: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The arguments of :data:`Compute` with a row for every sample, contiguous: always of the same form."""
    batch = len(x)
    rows = None if class_labels is None else class_labels.expand(batch, -1).contiguous()
    return x.contiguous(), noise_labels.expand(batch).contiguous(), rows


def check_agreement(made: DenoiserModule, denoiser: DenoiserModule, batch: int, device: torch.device) -> None:
    """Compare two denoisers on one random batch, of noise levels over the whole range.

    Args:
        made: the one that a backend computes.
        denoiser: the one that it was made of.
        batch: samples to compare.
        device: where both are.

    Raises:
        ValueError: they differ by more than :data:`TOLERANCE`.
    """
    difference = _difference(made, denoiser, batch, device)
    if not difference <= TOLERANCE:
        raise ValueError(
            f"it returns other numbers: they differ by {difference:.1e} of the largest, and rounding by {TOLERANCE:g}"
        )


@torch.no_grad()
def _difference(made: DenoiserModule, denoiser: DenoiserModule, batch: int, device: torch.device) -> float:
    generator = torch.Generator().manual_seed(0)
    low, high = (min(max(level, denoiser.sigma_min), denoiser.sigma_max) for level in _LEVELS)
    sigma = torch.linspace(0, 1, batch, dtype=torch.float64).mul(torch.tensor(high / low).log()).exp().mul(low)
    x = torch.randn((batch, *denoiser.sample_shape), generator=generator)
    x = x * (1 + sigma.square()).sqrt().float().reshape(-1, *[1] * (x.ndim - 1))
    labels: Tensor | None = None
    if denoiser.label_dim:
        classes = torch.arange(batch) % denoiser.label_dim
        labels = torch.nn.functional.one_hot(classes, denoiser.label_dim).float()
    given = (x.to(device), sigma.to(device, torch.float32), None if labels is None else labels.to(device))
    expected, found = denoiser(*given), made(*given)
    if not bool(expected.isfinite().all()):
        return 0.0  # the network itself fails, which whoever draws with it says better
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1.0))


_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def eager(network: nn.Module, device: torch.device) -> Compute:
    """A copy of the network whose weights are normalised once and, on a CPU, have their channels innermost.

    Convolutions on a CPU follow the layout of their weights, and are 1.2 to 1.3 times as fast in that one; whole
    networks 1.1 to 1.2 times, in two dimensions and in three.

    Args:
        network: F, as it is loaded; it stays as it is.
        device: where it is.
    """
    made = folded(network)
    if device.type == "cpu" and isinstance(network, Network) and network.dims in _CHANNELS_LAST:
        made = made.to(memory_format=_CHANNELS_LAST[network.dims])
    return made


@functools.cache
def require_compiler(device: torch.device) -> None:
    """Raise ValueError if there is no compiler that works; it takes seconds to try."""
    try:
        try_compiler(device)
    except Exception as error:  # a compiler can fail in any way
        raise ValueError(
            f"cannot compile networks here ({in_one_line(error)}): use the backend eager, or install a C++ compiler"
        ) from error


def compiled(network: nn.Module, device: torch.device) -> Compute:
    """The network compiled for every size of batch in which it is called, when it is first called so: in minutes.

    Args:
        network: F, as it is loaded; it stays as it is.
        device: where it is.

    Raises:
        ValueError: there is no compiler that works.
    """
    require_compiler(device)
    # One graph or none: what falls back to eager in silence would be slow without a word. Freezing lets the compiler
    # lay out the weights of a CPU's convolutions, which it does for constants alone.
    return _Compiled(
        torch.compile(
            eager(network, device),
            fullgraph=True,
            dynamic=False,
            options={"freezing": True} if device.type == "cpu" else None,
        )
    )


class _Compiled(nn.Module):
    """Calls the compiled network with arguments of one form, since another form would be compiled anew."""

    def __init__(self, network: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None) -> Tensor:
        return self.network(*one_a_sample(x, noise_labels, class_labels))


def try_compiler(device: torch.device) -> None:
    """Fail, with whatever error that brings, in seconds rather than minutes where there is no working compiler."""
    x = torch.ones(8, device=device, requires_grad=True)
    torch.autograd.backward(torch.compile(lambda x: (x.sin() + 1).sum(), dynamic=False)(x))


def in_one_line(error: BaseException) -> str:
    """The complaint of a compiler or exporter, which may be pages, in the first 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
