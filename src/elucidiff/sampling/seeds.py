"""Randomness with one generator a sample: all that a run draws depends on the sample's own seed alone."""

from __future__ import annotations

import itertools
import operator
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, as_denoiser
from elucidiff.denoisers.conditions import Conditions, check_count, each
from elucidiff.denoisers.labels import UNIFORM, KnownLabels
from elucidiff.denoisers.shapes import Labels
from elucidiff.devices import onto


class SeedRanges(Sequence[int]):
    """The seeds of some ranges, one after the other, as a sequence that is never written out.

    ``str`` gives the shortest text that :func:`.parse_seeds` reads back; ranges that continue each other are one.

    Args:
        ranges: ranges of step 1.
    """

    def __init__(self, ranges: Iterable[range]) -> None:
        joined: list[range] = []
        for part in ranges:
            if joined and joined[-1].stop == part.start:
                joined[-1] = range(joined[-1].start, part.stop)
            elif part:
                joined.append(part)
        self._ranges = joined
        self._ends = list(itertools.accumulate(map(len, joined)))

    @classmethod
    def of(cls, seeds: Iterable[int]) -> SeedRanges:
        """Single seeds, in their order."""
        return cls(range(seed, seed + 1) for seed in seeds)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[int]:
        return itertools.chain.from_iterable(self._ranges)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> SeedRanges: ...
    def __getitem__(self, index: int | slice) -> int | SeedRanges:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return SeedRanges(self._between(start, stop))
            return SeedRanges.of(self[k] for k in range(start, stop, step))
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"there are {len(self)} seeds, none has index {index}")
        at = bisect_right(self._ends, place)
        return self._ranges[at][place - self._ends[at]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeedRanges) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(tuple(self._ranges))

    def __str__(self) -> str:
        return ",".join(str(r.start) if len(r) == 1 else f"{r.start}-{r.stop - 1}" for r in self._ranges)

    def __repr__(self) -> str:
        return f"SeedRanges({str(self)!r})"

    @property
    def largest(self) -> int:
        """The largest seed.

        Raises:
            ValueError: there are none.
        """
        return max(part.stop for part in self._ranges) - 1

    def first_repeated(self) -> int | None:
        """The smallest seed that is there more than once; None if all differ."""
        reached = 0
        for part in sorted(self._ranges, key=lambda part: part.start):
            if part.start < reached:
                return part.start
            reached = part.stop
        return None

    def _between(self, start: int, stop: int) -> Iterator[range]:
        for part, end in zip(self._ranges, self._ends, strict=True):
            begin = end - len(part)
            yield part[max(start - begin, 0) : max(stop - begin, 0)]


class SeededNoise:
    """All random draws of a batch: latents, then class labels, then the noise of each step.

    Every sample has a CPU generator of its own, so its draws do not depend on the batch, the device or the other
    seeds. Draws advance the generators: make them in the order above, and make a new object for a new run. In that
    order and in these types (latents float32, noise float64) they are the draws of the reference implementation.

    Args:
        seeds: one integer a sample, taken modulo 2^32.

    Raises:
        TypeError: a seed is no integer.
        ValueError: there are no seeds.

    >>> import elucidiff as ed
    >>> one, both = ed.SeededNoise([7]), ed.SeededNoise([3, 7])
    >>> bool((both.latents((1, 4, 4))[1:] == one.latents((1, 4, 4))).all())
    True
    """

    def __init__(self, seeds: Iterable[int]) -> None:
        if isinstance(seeds, str | int) or not isinstance(seeds, Iterable):
            raise TypeError(f"seeds is {seeds!r}, but must be integers, one a sample, such as range(16)")
        self.seeds = [_integer(seed) for seed in seeds]
        if not self.seeds:
            raise ValueError("no seeds were given")
        self._generators = [torch.Generator("cpu").manual_seed(seed % 2**32) for seed in self.seeds]

    def latents(self, shape: Sequence[int]) -> Tensor:
        """Unit Gaussian latents (B, *shape), float32, on the CPU; ``shape`` is that of one sample, (C, *spatial)."""
        return self._draw(tuple(shape), torch.float32)

    def labels(self, n: int) -> Tensor:
        """An index out of ``n`` for each sample, (B,) int64: a class, or a row of a table.

        Raises:
            ValueError: ``n`` is not positive.
        """
        if n < 1:
            raise ValueError(f"cannot draw a label out of {n}")
        return torch.stack([torch.randint(n, (), generator=generator) for generator in self._generators])

    def __call__(self, x: Tensor, index: int) -> Tensor:
        """Unit Gaussian noise like ``x``; the noise of a step, as :func:`~elucidiff.sampling.sample` wants it.

        Drawn in float64 whatever the type of ``x``, so that the noise is the same for every type and device.

        Args:
            x: the batch (B, C, *spatial), one sample a seed.
            index: number of the step; the generators advance by themselves.

        Raises:
            ValueError: the batch size is not the number of seeds.
        """
        if len(x) != len(self.seeds):
            raise ValueError(f"there are {len(self.seeds)} seeds for {len(x)} samples")
        return onto(self._draw(tuple(x.shape[1:]), torch.float64).to(x.dtype), x.device)

    def _draw(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.stack([torch.randn(shape, dtype=dtype, generator=generator) for generator in self._generators])


def _integer(seed: object) -> int:
    try:
        return operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"seed {seed!r} is no integer") from None


def noise_for(latents: Tensor) -> SeededNoise:
    """Step noise for latents of unknown origin: each sample's generator is seeded by a checksum of its latent.

    So a sample still depends on its own latent alone, and other latents get other noise.
    """
    return SeededNoise(zlib.crc32(row.numpy().tobytes()) for row in latents.detach().cpu().double())


def seed_ranges(seeds: str | Sequence[int]) -> SeedRanges:
    """Seeds as ranges: from a text, see :func:`parse_seeds`, or from numbers such as ``range(64)``.

    Raises:
        ValueError: as :func:`parse_seeds`.
    """
    if isinstance(seeds, SeedRanges):
        return seeds
    return parse_seeds(seeds if isinstance(seeds, str) else str(SeedRanges.of(seeds)))


def parse_seeds(text: str) -> SeedRanges:
    """Read a list such as ``"0-63,70"``: numbers and ranges with both ends, in the given order, repeats kept.

    Raises:
        ValueError: a part is neither a number nor a range, a range runs backwards, or a seed is 2^32 or more (for
            :class:`SeededNoise` it would be the same as a smaller one).

    >>> import elucidiff as ed
    >>> list(ed.sampling.parse_seeds("0-2,7"))
    [0, 1, 2, 7]
    """
    ranges: list[range] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part, flags=re.ASCII)
        if match is None:
            raise ValueError(
                f"seeds {text!r}: {part.strip()!r} is neither a number nor a range; write for example 0-63,70"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"seeds {text!r}: the range {part.strip()} runs backwards")
        if last >= 2**32:
            raise ValueError(f"seeds {text!r}: {last} is too large, the largest seed is {2**32 - 1}")
        ranges.append(range(first, last + 1))
    return SeedRanges(ranges)


def labels_for(
    denoiser: DenoiserLike,
    noise: SeededNoise,
    labels: Labels | Conditions | int | str | None,
    *,
    any_class: bool = False,
) -> Conditions | None:
    """Label rows, and the seeds' generators advanced by one draw each, whether it is used or not.

    Args:
        denoiser: is asked for what it knows of its labels.
        noise: the seeds, whose latents are drawn already.
        labels: see :meth:`.Sampler.run`. None: each seed draws a class, as often as the training data had it, or one
            of the denoiser's examples.
        any_class: take classes that the training data did not have.

    Returns:
        rows ``(B, label_dim)``, or ``(1, label_dim)`` for all; conditions as they were given, and fields beside such
        rows; None for a denoiser without labels, or if there are no conditions.

    Raises:
        ValueError: the labels do not fit the denoiser, it takes vectors and knows none to draw from, or a class was
            never trained.
    """
    return _labels_for(as_denoiser(denoiser).known_labels, noise, labels, any_class)


def _labels_for(
    known: KnownLabels, noise: SeededNoise, labels: Labels | Conditions | int | str | None, any_class: bool
) -> Conditions | None:
    if known.field:
        field, others = known.split(labels)
        rows = _labels_for(known.beside_field, noise, others, any_class)  # type: ignore[arg-type]  # refused by then
        made = known.with_field(field, rows)
        check_count(made, len(noise.seeds))
        return made
    if not known.dim:
        if labels is None:
            return None if known.examples is None else known.draw(noise.labels)
        if isinstance(labels, int | str):
            raise ValueError("class labels were given to a denoiser without classes: leave labels out")
        conditions = known.resolved(labels)  # which refuses them where there are no labels
        check_count(conditions, len(noise.seeds))
        return conditions
    if labels is None or (isinstance(labels, str) and labels == UNIFORM):
        return known.draw(noise.labels, uniform=labels is not None)
    # Drawn all the same, so that given labels leave the noise of the steps as it is: all draws take as many bits.
    noise.labels(known.dim)
    if known.kind == "classes" and not isinstance(labels, str | Mapping) and np.ndim(labels) == 0:
        labels = torch.as_tensor(labels).expand(len(noise.seeds))
    rows = known.rows(labels)  # type: ignore[arg-type]  # a number is a tensor by now, or refused
    if not any_class:
        known.refuse_untrained(rows)
    return rows


@dataclass(frozen=True)
class Beginning:
    """The beginning of a run, as :func:`begin` makes it.

    Attributes:
        noise: the seeds, whose latents and labels are drawn already.
        latents: unit Gaussian noise (B, C, *spatial), on the device.
        labels: rows (B, label_dim), or (1, label_dim) for all, or other conditions, on the device; or None.
    """

    noise: SeededNoise
    latents: Tensor
    labels: Conditions | None


def begin(
    denoiser: DenoiserLike,
    seeds: Sequence[int],
    labels: Labels | Conditions | int | str | None,
    shape: Sequence[int] | None,
    device: torch.device | str | None,
    *,
    any_class: bool = False,
) -> Beginning:
    """Draw what the seeds begin with, in the order in which all runs draw it.

    Args:
        denoiser: D; is asked for its ``sample_shape`` and labels.
        seeds: one integer a sample.
        labels: see :meth:`.Sampler.run`.
        shape: shape (C, *spatial) of a sample; by default the denoiser's.
        device: where to compute; by default where the denoiser's weights are.
        any_class: take classes that the training data did not have.

    Raises:
        ValueError: nobody states the shape, there are no seeds, or the labels do not fit.
    """
    described = as_denoiser(denoiser)
    shape = described.sample_shape if shape is None else shape
    if not shape:
        raise ValueError("the denoiser does not state the shape of its samples: give shape=(C, *spatial)")
    place = described.device if device is None else torch.device(device)
    noise = SeededNoise(seeds)
    latents = noise.latents(shape).to(place)
    rows = labels_for(described, noise, labels, any_class=any_class)
    return Beginning(noise, latents, None if rows is None else each(rows, lambda value: value.to(place)))
