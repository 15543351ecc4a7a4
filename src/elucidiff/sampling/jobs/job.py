"""What a sampling job draws, to the last bit, and how it is cut into shards."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from elucidiff.sampling.jobs.outputs import OUTPUTS
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import SeedRanges
from elucidiff.suggest import suggestion

_TOGETHER = 64


@dataclass(frozen=True)
class Shard:
    """A part of a job that is written as a whole.

    Attributes:
        index: its number, from 0.
        start: place of its first sample in the job.
        seeds: one a sample.
    """

    index: int
    start: int
    seeds: SeedRanges


@dataclass(frozen=True)
class Job:
    """Samples to draw. Two equal jobs give equal files, in however many processes and sessions they are done.

    Args:
        sampler: how to draw them.
        seeds: one a sample, all different.
        labels: class numbers (K,) or rows (K, label_dim), taken in turn; None lets each seed draw its own, as often
            as the training data had each; "uniform" lets it draw one of all classes equally often.
        batch_size: samples in each call of the denoiser; see :class:`.FixedBatch`.
        threads: threads of a process on a CPU. They are part of the job because sums that are shared among another
            number of threads are rounded otherwise.
        device: kind of device, such as ``cpu``; another one rounds otherwise.
        pictures: whether samples are pictures in [-1, 1], which become PNG files. Others become ``.npy`` files.
        output: where samples go, one of :data:`.OUTPUTS`.
        shard_size: samples in a shard, but for the last one.
        facts: whatever else decides the samples, JSON-able: checksum of the model, of the labels.

    Raises:
        ValueError: a number is not positive, there is no such output, a seed is there twice, or there are labels that
            no sample would get.
    """

    sampler: Sampler
    seeds: SeedRanges
    labels: Tensor | Literal["uniform"] | None = None
    batch_size: int = 16
    threads: int = 1
    device: str = "cpu"
    pictures: bool = True
    output: str = "folder"
    shard_size: int = 1000
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("batch_size", "threads", "shard_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('_', ' ')} is {getattr(self, name)}, but must be at least 1")
        if self.output not in OUTPUTS:
            raise ValueError(f"there is no format {self.output!r}; {suggestion(self.output, OUTPUTS)}")
        if not self.seeds:
            raise ValueError("no seeds were given")
        repeated = self.seeds.first_repeated()
        if repeated is not None:
            raise ValueError(f"seeds overlap at {repeated}: the same seed twice would write the same file twice")
        if isinstance(self.labels, Tensor) and not 1 <= len(self.labels) <= len(self.seeds):
            raise ValueError(
                f"there are {len(self.labels)} labels for {len(self.seeds)} seeds: give one a seed, or fewer, which "
                "are taken in turn"
            )

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-len(self.seeds) // self.shard_size)

    @property
    def together(self) -> int:
        """Samples that are drawn at once: several batches, since step noise and the solver's arithmetic are cheaper
        for many samples than for few."""
        return max(self.batch_size, _TOGETHER // self.batch_size * self.batch_size)

    @property
    def suffix(self) -> str:
        """Of the file of a sample, with the dot."""
        return ".png" if self.pictures else ".npy"

    def shard(self, index: int) -> Shard:
        """The shard of that number."""
        start = index * self.shard_size
        return Shard(index, start, self.seeds[start : start + self.shard_size])

    def labels_of(self, start: int, stop: int) -> Tensor | Literal["uniform"] | None:
        """Labels asked for samples ``start`` to ``stop`` - 1."""
        if not isinstance(self.labels, Tensor):
            return self.labels
        return self.labels[torch.arange(start, stop) % len(self.labels)]

    def identity(self) -> dict[str, Any]:
        """All that decides the files, JSON-able."""
        return {
            **self.facts,
            "sampler": self.sampler.to_plain(),
            "seeds": str(self.seeds),
            "samples": len(self.seeds),
            "labels": _summary(self.labels) if isinstance(self.labels, Tensor) else self.labels,
            "batch_size": self.batch_size,
            "threads": self.threads,
            "device": self.device,
            "file": self.suffix[1:],
            "format": self.output,
            "shard_size": self.shard_size,
        }


def _summary(labels: Tensor) -> dict[str, Any]:
    values = np.ascontiguousarray(labels.numpy())
    return {"count": len(values), "type": str(values.dtype), "sha256": hashlib.sha256(values.data).hexdigest()}
