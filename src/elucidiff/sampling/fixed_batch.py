"""Equal bits whatever the batch: a network is called on batches of one size, or on fewer rows that have its bits.

Most layers give a sample the same bits in a batch of 2 as in one of 16, many even alone; some do not, because PyTorch
computes small products and convolutions by another library. So in a call on few samples these convolutions take the
library of a batch, what is left is padded, and nothing else. Which layers these are is found at run time, once per
network: during one call on a full batch, each layer is asked again for the first few of its inputs. What comes out is
used only if the whole network then gives equal bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from elucidiff.denoisers.base import DenoiserLike, DenoiserModule, Wrapped
from elucidiff.denoisers.conditions import Conditions, rows_of, shapes_of
from elucidiff.denoisers.guided import Autoguided
from elucidiff.design.values import check_integer
from elucidiff.networks.magnitude_preserving import UnitLayer

Call = Callable[[int], Tensor]
"""D of the first so many rows of a full batch, whose last real row fills it up."""

Forward = Callable[..., Tensor]
"""A layer as a function of the arguments of its ``forward``: the first is a batch, the others single numbers."""


@dataclass(frozen=True)
class FewSamples:
    """A way to call a network on ``count`` samples.

    Attributes:
        count: rows of the call.
        forwards: what some layers compute instead of their own ``forward``.
    """

    count: int
    forwards: Mapping[nn.Module, Forward]

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Let these layers compute so meanwhile."""
        # Beside nn.Module's own bookkeeping, which takes as long as a small layer.
        for layer, forward in self.forwards.items():
            vars(layer)["forward"] = forward
        try:
            yield
        finally:
            for layer in self.forwards:
                del vars(layer)["forward"]


def _as_in_a_batch(layer: nn.Module) -> Forward:
    """``layer`` by the library that PyTorch takes for convolutions of many samples on a CPU."""
    if type(layer).forward is UnitLayer.forward:
        unit = cast(UnitLayer, layer)
        padding = [unit.weight.shape[-1] // 2] * (unit.weight.ndim - 2)
        return lambda x: _by_one_dnn(x, unit.unit_weight(), None, padding=padding)
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and layer.padding_mode == "zeros":
        conv = layer
        return lambda x: _by_one_dnn(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)

    def forward(*inputs: Any, **others: Any) -> Tensor:
        with _Redirected():
            result: Tensor = type(layer).forward(layer, *inputs, **others)
        return result

    return forward


class _Redirected(TorchFunctionMode):
    """Meanwhile all convolutions go that way. For a layer that is known it takes longer than to call it so."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        convolves = function in (F.conv1d, F.conv2d, F.conv3d)
        return (_by_one_dnn if convolves else function)(*args, **(kwargs or {}))


def _by_one_dnn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] | int = 1,
    padding: Sequence[int] | str | int = 0,
    dilation: Sequence[int] | int = 1,
    groups: int = 1,
) -> Tensor:
    """The arguments are those of PyTorch's convolutions."""
    dims = x.ndim - 2
    if isinstance(padding, str):
        padding = [0 if padding == "valid" else side // 2 for side in weight.shape[2:]]
    strides, pads, steps = ([each] * dims if isinstance(each, int) else each for each in (stride, padding, dilation))
    if dims > 1:
        return torch.mkldnn_convolution(x, weight, bias, pads, strides, steps, groups)
    # PyTorch, too, takes signals for pictures of height 1.
    given = (x.unsqueeze(2), weight.unsqueeze(2), bias, [0, *pads], [1, *strides], [1, *steps])
    return torch.mkldnn_convolution(*given, groups).squeeze(2)


def _padded(layer: nn.Module, share: float, x: Tensor, *inputs: Any, **others: Any) -> Tensor:
    """The result of ``layer`` with ``share`` times as many rows."""
    rows, wanted = len(x), int(len(x) * share)
    more = x[-1:].expand(wanted - rows, *x.shape[1:])
    filled = torch.cat([x, more]) if rows > 1 else x.expand(wanted, *x.shape[1:])
    result: Tensor = type(layer).forward(layer, filled, *inputs, **others)
    return result[:rows]


_FOUND: WeakKeyDictionary[nn.Module, dict[Hashable, FewSamples | None]] = WeakKeyDictionary()


def can_be_few(denoiser: DenoiserModule) -> bool:
    """True if calls on few samples are tried: of networks that take any batch.

    Not under autoguidance: what was found out is kept with the model, and holds for one guide alone.
    """
    return (
        denoiser.depends_on_batch
        and denoiser.any_batch_size
        and any(True for _ in denoiser.parameters())
        and not any(isinstance(module, Autoguided) for module in denoiser.modules())
    )


def known_way(denoiser: DenoiserModule, key: Hashable) -> FewSamples | bool | None:
    """The way that was found for calls of this kind; None if there is none, and False if nobody has looked."""
    return _FOUND.get(_inner(denoiser), {}).get(key, False)


def look_for_way(denoiser: DenoiserModule, key: Hashable, call: Call, count: int, size: int) -> Tensor:
    """Call the denoiser on a full batch, and find the fewest rows, from ``count`` on, that have the same bits.

    Args:
        denoiser: a network.
        key: what decides how it is called.
        call: calls it on some rows of the batch.
        count: samples that are wanted.
        size: rows of a full batch.

    Returns:
        D of the full batch.
    """
    counts = [1 << k for k in range(size.bit_length()) if count <= 1 << k < size]
    layers = _Layers(denoiser, size, counts)
    with layers.watched():
        whole = call(size)
    found = None
    for few in counts:
        way = FewSamples(few, layers.forwards(few))
        with way.taken():
            same = torch.equal(call(few), whole[:few])
        if same:
            found = way
            break
    _FOUND.setdefault(_inner(denoiser), {})[key] = found
    return whole


class _Layers:
    """The layers of a network that see the batch, and how each gets the bits of a full one on fewer rows."""

    def __init__(self, denoiser: nn.Module, size: int, counts: Sequence[int]) -> None:
        self._size, self._counts = size, counts
        self._leaves = [
            each for each in denoiser.modules() if not any(each.children()) and any(True for _ in each.parameters())
        ]
        # Numbers of rows that have these bits, computed as usual and as in a batch.
        self._usual: dict[nn.Module, set[int]] = {}
        self._as_batch: dict[nn.Module, set[int]] = {}

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Compare meanwhile, at each call of a layer."""
        handles = [leaf.register_forward_hook(self._compare, with_kwargs=True) for leaf in self._leaves]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _compare(self, layer: nn.Module, inputs: tuple[Any, ...], others: dict[str, Any], output: Any) -> None:
        x, *rest = (*inputs, *others.values())
        # What takes more than one batch is left as it is, and is right or not when the whole network is compared.
        if not inputs or not isinstance(x, Tensor) or not isinstance(output, Tensor):
            return
        if any(isinstance(each, Tensor) and each.ndim for each in rest):
            return
        if x.ndim < 2 or len(x) % self._size or len(output) != len(x):
            return  # one row for all
        # Rows are cheap to pad, and may be whole numbers for which all sums are exact, so that nothing would show.
        tried = self._counts if x.ndim > 2 else ()
        shares = len(x) // self._size

        def same(forward: Forward, counts: Iterable[int]) -> set[int]:
            return {
                few
                for few in counts
                if torch.equal(forward(x[: shares * few], *inputs[1:], **others), output[: shares * few])
            }

        usual = same(layer.forward, tried)
        as_batch = usual | same(_as_in_a_batch(layer), set(tried) - usual)
        self._usual[layer] = usual & self._usual.get(layer, usual)
        self._as_batch[layer] = as_batch & self._as_batch.get(layer, as_batch)

    def forwards(self, count: int) -> dict[nn.Module, Forward]:
        """The functions that layers compute on ``count`` rows, where they are not the usual."""
        forwards: dict[nn.Module, Forward] = {}
        for layer, usual in self._usual.items():
            if count in usual:
                continue
            if count in self._as_batch[layer]:
                forwards[layer] = _as_in_a_batch(layer)
            else:
                need = min((few for few in usual if few > count), default=self._size)
                forwards[layer] = partial(_padded, layer, need / count)
        return forwards


def _inner(denoiser: nn.Module) -> nn.Module:
    while isinstance(denoiser, Wrapped):
        denoiser = denoiser.denoiser
    return denoiser


class FixedBatch(Wrapped):
    """A denoiser that calls another one in chunks of exactly ``size`` samples, the last one padded where it must be.

    A network's output for a sample changes in its last bits with the size of the batch, as the library underneath
    picks its loops by it; for one size it does not depend on the neighbours. So what a sample becomes depends on
    ``size``, but on neither how many samples are drawn with it nor in which order. Chunks of about 16 are also faster
    on a CPU than larger batches, whose activations outgrow its caches and the allocator's free lists.

    This was measured to the bit on a CPU with one thread for every size, and with two for sizes of 12 and 16. Where
    threads cannot share a batch evenly (three threads and 16 samples, two and 5), the seam between their shares falls
    within a sample, and its place in the chunk showed in the last bits: 3e-7 in values of order 1.

    A last chunk of at most half the size is not computed whole if the network has the same bits on fewer rows, which
    is found out in its first call.

    Args:
        denoiser: called as ``denoiser(x, sigma)`` or ``denoiser(x, sigma, labels)``.
        size: samples in each call.

    Raises:
        ValueError: ``size`` is not positive.

    >>> import elucidiff as ed
    >>> sizes = []
    >>> def denoiser(x, sigma, labels=None):
    ...     sizes.append(len(x))
    ...     return 0 * x
    ...
    >>> ed.sampling.FixedBatch(denoiser, size=4)(torch.ones(6, 1), 1.0).shape, sizes
    (torch.Size([6, 1]), [4, 4])
    """

    depends_on_batch = False
    data_std = None  # whoever made it has looked whether the noise levels suit the data

    def __init__(self, denoiser: DenoiserLike, size: int = 16) -> None:
        super().__init__(denoiser)
        check_integer(batch_size=size)
        if size < 1:
            raise ValueError(f"batch size is {size}, but must be at least 1")
        self.size = size
        self._can_be_few = can_be_few(self.denoiser)

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None = None) -> Tensor:
        """D(x; sigma); see the denoiser. Padding is not counted among the evaluations."""
        batch, outputs = len(x), []
        # On accelerators, and for backward passes, nobody has compared bits.
        can_be_few = self._can_be_few and x.device.type == "cpu" and not torch.is_grad_enabled()
        for start in range(0, batch, self.size):
            if can_be_few and batch - start <= self.size // 2:
                outputs.append(self._few(x, sigma, labels, start))
                continue
            # Full chunks are copied too, so that all are laid out alike in memory; the last row fills the last one.
            outputs.append(self._called(x, sigma, labels, start, self.size))
        return torch.cat(outputs)[:batch]

    def _called(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None, start: int, count: int) -> Tensor:
        """D of ``count`` rows from ``start`` on, the last one repeated as needed."""
        batch = len(x)
        # Made where they are used: nothing is copied between devices.
        rows = torch.arange(start, start + count, device=x.device).clamp_max(batch - 1)
        given: list[float | Conditions] = [x[rows], sigma]
        if isinstance(sigma, Tensor) and sigma.ndim > 0:
            at = torch.arange(start, start + count, device=sigma.device).clamp_max(batch - 1)
            given[1] = rows_of(sigma, at, batch)  # one for all becomes one each
        if labels is not None:
            given.append(rows_of(labels, rows, batch))
        denoised: Tensor = self.denoiser(*given)
        return denoised

    def _few(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None, start: int) -> Tensor:
        """D of the last rows, from ``start`` on, on no more of them than needed for the bits of a full chunk."""
        count = len(x) - start
        levels = torch.as_tensor(sigma)
        cost = int(self.denoiser.evaluations(levels).max())  # the networks that are evaluated
        shapes = None if labels is None else tuple(sorted(shapes_of(labels).items()))
        few = 1 << (count - 1).bit_length()
        chain = type(self.denoiser), few, self.size
        key = (*chain, tuple(x.shape[1:]), x.dtype, levels.ndim, shapes, cost, torch.get_num_threads())
        way = known_way(self.denoiser, key)

        def called(rows: int) -> Tensor:
            return self._called(x, sigma, labels, start, rows)

        if way is False:
            return look_for_way(self.denoiser, key, called, few, self.size)
        if not isinstance(way, FewSamples):
            return called(self.size)
        with way.taken():
            return called(way.count)
