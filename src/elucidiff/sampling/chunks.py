"""Equal bits whatever the batch: the denoiser is only ever called on batches of one size."""

from __future__ import annotations

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, Wrapped
from elucidiff.denoisers.conditions import Conditions, rows_of, shapes_of
from elucidiff.design.values import check_integer
from elucidiff.sampling.few_samples import FewSamples, can_be_few, known_way, look_for_way


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
    is found out in its first call: see :mod:`.few_samples`.

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
