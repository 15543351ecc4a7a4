"""Equal bits whatever the batch: a network is called on batches of one size, or on fewer rows that have its bits.

Most layers give a sample the same bits in a batch of 2 as in one of 16, many even alone; some do not, because the
library picks other loops for small products. So a call on few samples pads the inputs of these layers, and of no
others. Which they are is found at run time, once per network: during one call on a full batch, each layer is asked
again for the first few of its inputs. What comes out is used only if the whole network then gives equal bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from elucidiff.denoisers.base import DenoiserLike, DenoiserModule, Wrapped
from elucidiff.denoisers.conditions import Conditions, rows_of, shapes_of
from elucidiff.denoisers.guided import Autoguided
from elucidiff.design.values import check_integer

Call = Callable[[int], Tensor]
"""D of the first so many rows of a full batch, whose last real row fills it up."""


@dataclass(frozen=True)
class FewSamples:
    """A way to call a network on ``count`` samples.

    Attributes:
        count: rows of the call.
        size: rows of a full batch.
        needs: how many rows each layer needs that must not have ``count``.
    """

    count: int
    size: int
    needs: Sequence[tuple[nn.Module, int]]

    @contextlib.contextmanager
    def padding(self) -> Iterator[None]:
        """Pad the inputs of these layers, and cut their outputs."""
        handles = []
        for layer, need in self.needs:
            pad, cut = self._hooks(need)
            handles += [layer.register_forward_pre_hook(pad), layer.register_forward_hook(cut)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks(self, need: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
        rows = 0

        def pad(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            nonlocal rows
            rows = len(inputs[0])
            if rows % self.count:
                return None  # one row for all
            more = rows // self.count * need - rows
            return (torch.cat([inputs[0], inputs[0][-1:].expand(more, *inputs[0].shape[1:])]),)

        def cut(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            return output[:rows]

        return pad, cut


_FOUND: WeakKeyDictionary[nn.Module, dict[Hashable, FewSamples | None]] = WeakKeyDictionary()


def can_be_few(denoiser: DenoiserModule, x: Tensor) -> bool:
    """Whether calls on few samples are tried: of networks on a CPU that take any batch, without gradients.

    Not under autoguidance: what was found out is kept with the model, and holds for one guide alone.
    """
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and denoiser.depends_on_batch
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
        way = FewSamples(few, size, layers.needs(few))
        with way.padding():
            same = torch.equal(call(few), whole[:few])
        if same:
            found = way
            break
    _FOUND.setdefault(_inner(denoiser), {})[key] = found
    return whole


class _Layers:
    """The layers of a network that see the batch, and how many rows each needs for the bits of a full one."""

    def __init__(self, denoiser: nn.Module, size: int, counts: Sequence[int]) -> None:
        self._size, self._counts = size, counts
        self._leaves = [
            each for each in denoiser.modules() if not any(each.children()) and any(True for _ in each.parameters())
        ]
        self._same: dict[nn.Module, set[int]] = {}

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        handles = [leaf.register_forward_hook(self._compare, with_kwargs=True) for leaf in self._leaves]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _compare(self, layer: nn.Module, inputs: tuple[Any, ...], others: dict[str, Any], output: Any) -> None:
        # What takes more than one input is left as it is, and is right or not when the whole network is compared.
        if len(inputs) != 1 or others or not isinstance(inputs[0], Tensor) or not isinstance(output, Tensor):
            return
        x = inputs[0]
        if x.ndim < 2 or len(x) % self._size or len(output) != len(x):
            return  # one row for all
        # Rows are cheap to pad, and may be whole numbers for which all sums are exact, so that nothing would show.
        tried = self._counts if x.ndim > 2 else ()
        shares = len(x) // self._size
        same = {few for few in tried if torch.equal(layer.forward(x[: shares * few]), output[: shares * few])}
        self._same[layer] = same & self._same.get(layer, same)

    def needs(self, count: int) -> list[tuple[nn.Module, int]]:
        """The layers that need more than ``count`` rows, and how many."""
        least = {
            layer: min((few for few in same if few >= count), default=self._size)
            for layer, same in self._same.items()
        }
        return [(layer, need) for layer, need in least.items() if need > count]


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

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None = None) -> Tensor:
        """D(x; sigma); see the denoiser. Padding is not counted among the evaluations."""
        batch, outputs = len(x), []
        for start in range(0, batch, self.size):
            if batch - start <= self.size // 2 and can_be_few(self.denoiser, x):
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
        with way.padding():
            return called(way.count)
