"""The two sides of the comparison in :mod:`benchmarks.sampling_speed`, in processes of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import elucidiff as ed
from benchmarks.plain import PlainDDPMpp, plain_heun
from benchmarks.processes import Side
from elucidiff.denoisers.backends import Backend, with_backend
from elucidiff.launch.machine import keep_freed_memory
from elucidiff.networks import UNet
from elucidiff.sampling import Sampler
from elucidiff.sampling.seeds import begin

BATCH = 64

Array = npt.NDArray[np.float64]


def reference(model: Path, images: int, threads: int) -> Side:
    """The reference's way: one process, Heun's method with 18 steps on batches of :data:`BATCH`."""
    return Side(_reference, [(model, range(images), threads)])


@dataclass(frozen=True)
class Ours:
    """How our side draws: ``processes`` of one thread, each with its part of the images.

    Attributes:
        sampler: how.
        backend: what computes the network.
        batch_size: samples in one call of it.
        program: where the backend ``onnx`` keeps what it has made.
    """

    sampler: Sampler
    backend: Backend
    batch_size: int
    program: Path

    def side(self, model: Path, images: int, processes: int) -> Side:
        """The processes, started."""
        ends = [index * images // processes for index in range(processes + 1)]
        return Side(_ours, [(model, range(*part), self) for part in pairwise(ends)])

    def ready(self, denoiser: ed.Denoiser) -> ed.Denoiser:
        """The denoiser computed by the backend."""
        return with_backend(denoiser, self.backend, batch_sizes=[self.batch_size], file=self.program)


def _reference(end: Connection, model: Path, seeds: range, threads: int) -> None:
    torch.set_num_threads(threads)
    begun = time.perf_counter()
    denoiser = ed.load(model).eval()
    assert isinstance(denoiser.network, UNet)
    assert isinstance(denoiser.preconditioning, ed.preconditioning.EDM)
    plain, sigma_data = PlainDDPMpp(denoiser.network), denoiser.preconditioning.sigma_data

    def batches() -> Iterator[Array]:
        for start in range(0, len(seeds), BATCH):
            beginning = begin(denoiser, seeds[start : start + BATCH], None, None, None)
            labels = torch.zeros(1, 0) if beginning.labels is None else beginning.labels
            yield plain_heun(plain, beginning.latents, ed.steps.karras(18), labels, sigma_data).numpy()

    _serve(end, time.perf_counter() - begun, lambda: np.concatenate(list(batches())))


def _ours(end: Connection, model: Path, seeds: range, ours: Ours) -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    denoiser = ours.ready(ed.load(model).eval())

    def draw() -> Array:
        return ours.sampler.run(denoiser, seeds, batch_size=ours.batch_size).x.numpy()

    _serve(end, time.perf_counter() - begun, draw)


def _serve(end: Connection, setup: float, draw: Callable[[], Array]) -> None:
    """Draw the samples whenever asked; send them, and the seconds of set-up."""
    while end.recv():
        end.send((setup, draw()))
