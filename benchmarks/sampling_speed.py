"""Sampling against the reference's way: equal closeness to the exact ODE solution, and equal solver and steps.

    python -m benchmarks.sampling_speed MODEL [MODEL ...] [--seconds 6] [--rounds 5] [--backends eager onnx]

The reference's way (`benchmarks/plain.py`): the same weights in eager float32, NCHW, batches of 64, one process with
as many threads as there are cores, glibc's allocator as it comes, Heun's method with 18 steps. Ours is what
`elucidiff sample --batch-size auto` does: a process of one thread for each core, freed memory kept, a measured batch
size, and a backend. All sides are started beforehand and draw the same seeds in turn; a round is timed from the word
to begin until the last process has its samples. Starting processes and importing PyTorch is left out; what else comes
before the first sample (reading the model; making a backend's program, once for all processes) is told.

The sampler that is as close as Heun's method is found on 48 other seeds (`benchmarks/closest_sampler.py`). The errors
in the table are those of the very samples that were timed.

Models are DDPM++ in two dimensions. Writes docs/results/sampling-speed.md and .csv. Wants idle cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import elucidiff as ed
from benchmarks import errors
from benchmarks.closest_sampler import HIGH, LOW, MARGIN, SEEDS, cheapest, squares
from benchmarks.sampling_sides import BATCH, Ours, reference
from benchmarks.tables import write_table
from benchmarks.timing import interleaved, ratio
from elucidiff.denoisers.backends import with_backend
from elucidiff.launch.machine import physical_cores
from elucidiff.networks import UNet
from elucidiff.sampling import Sampler
from elucidiff.sampling.jobs import BatchSize, Job, Task, fastest_batch_size
from elucidiff.sampling.optimise import solve_exactly
from elucidiff.sampling.seeds import SeedRanges

REFERENCE = "reference's way"
JOB, MOST = 1000, 512

NOTES = """# Sampling speed against the reference's way

The reference's way: eager float32, NCHW, default allocator, one process, {processes} threads, batches of {batch},
Heun's method with 18 steps. Ours: {processes} processes of one thread, an allocator that keeps freed memory, a
measured batch size. "Times as many": how many times longer the reference's way took for the same seeds,
median of {rounds} rounds in turn, and range. Errors are root mean square distances of the timed samples to the exact
ODE solution, which is known to {exact}, with standard errors over seeds; the solver that is as close as the
reference's was chosen on {screening} other seeds, where two standard errors more than its error were at most
{margin:g} of the reference's. "Set-up" is what comes before the first sample beside starting
Python and importing PyTorch; the last column counts it in. torch {torch}, load {load:.1f} at the end.

    python -m benchmarks.sampling_speed {models} --seconds {seconds:g} --rounds {rounds} --backends {backends}

"""


@dataclass(frozen=True)
class Measured:
    """One side of the comparison for one model.

    Attributes:
        sampler: in words.
        backend: its name, or that of the reference.
        setup: seconds.
        seconds: of each round.
        squares: mean square distance of each sample to the exact solution.
    """

    sampler: str
    backend: str
    setup: float
    seconds: list[float]
    squares: list[float]

    @property
    def typical(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Images a second."""
        return len(self.squares) / self.typical

    @property
    def whole(self) -> float:
        """Seconds for :data:`JOB` images, set-up included."""
        return self.setup + JOB / self.rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=6, help="about so long for a round of the reference's way")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backends", nargs="+", default=["eager", "onnx"], help="eager is one of them")
    parser.add_argument("--processes", type=int, default=physical_cores())
    options = parser.parse_args()
    if settled := [name for name in os.environ if name.startswith("MALLOC_")]:
        raise SystemExit(f"{settled[0]} is set, which settles the allocator of both sides: unset it")
    torch.set_num_threads(1)  # here; the sides have theirs
    rows: list[dict[str, str]] = []
    exactness: list[str] = []
    for model in options.models:
        exact_error, sides = compare(model, options)
        exactness.append(f"{exact_error:.0e}")
        rows += _rows(str(ed.load(model).facts["data"]["name"]), sides)
    facts = {
        **vars(options),
        "batch": BATCH,
        "exact": " and ".join(exactness),
        "screening": len(SEEDS),
        "margin": MARGIN,
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
        "models": " ".join(["MODEL"] * len(options.models)),
        "backends": " ".join(options.backends),
    }
    print(write_table("sampling-speed", NOTES.format(**facts), rows))


def compare(model: Path, options: argparse.Namespace) -> tuple[float, list[Measured]]:
    """All sides for one model, that of the reference first, and how exact the exact solutions are."""
    denoiser = ed.load(model).eval()
    if not isinstance(denoiser.network, UNet) or len(denoiser.sample_shape) != 3:
        raise SystemExit(f"{model} is no DDPM++ of pictures, which is what benchmarks/plain.py computes")
    eager = with_backend(denoiser, "eager")
    fast = cheapest(eager)
    images, size = _amount(eager, options)
    told = f"{fast.relative:.2f} of the default's error; {images} images a round, in batches of {size}"
    print(f"{model}: {fast}, {told}", flush=True)
    exact = solve_exactly(eager, range(images), LOW, HIGH, batch_size=size)

    heun = "heun, 35 evaluations"
    with tempfile.TemporaryDirectory(prefix="elucidiff-") as folder:
        program = Path(folder) / "network.onnx"
        ours = {
            (name, backend): Ours(sampler, backend, size, program)
            for backend in options.backends
            for name, sampler in ((heun, Sampler()), (str(fast), fast.sampler))
        }
        made = {backend: _seconds_to_make(side, denoiser) for (_, backend), side in ours.items()}
        sides: dict[Any, Any] = {
            (heun, REFERENCE): reference(model, images, options.processes),
            **{key: side.side(model, images, options.processes) for key, side in ours.items()},
        }
        sent = {key: side() for key, side in sides.items()}
        seconds = interleaved(sides, options.rounds)
        for side in sides.values():
            side.end()

    samples = {key: torch.from_numpy(np.concatenate([x for _, x in parts])) for key, parts in sent.items()}
    for backend in options.backends:
        difference = float((samples[heun, backend] - samples[heun, REFERENCE]).abs().max())
        print(f"heun, {backend}: largest difference to the reference's samples {difference:.1e}", flush=True)
    return exact.error, [
        Measured(
            key[0],
            key[1],
            made.get(key[1], 0.0) + max(setup for setup, _ in parts),
            seconds[key],
            squares(samples[key], exact),
        )
        for key, parts in sent.items()
    ]


def _amount(denoiser: ed.Denoiser, options: argparse.Namespace) -> tuple[int, int]:
    """Images for a round, in whole batches of the reference, and the batch size that suits our processes for them."""

    def measured(images: int) -> BatchSize:
        job = Job(Sampler(), SeedRanges([range(images)]))
        return fastest_batch_size(Task(job, denoiser, torch.device("cpu")), options.processes)

    rate = options.processes * max(measured(MOST).rates.values())
    images = BATCH * round(min(max(options.seconds * rate / 35, BATCH), MOST) / BATCH)
    return images, measured(images).size


def _seconds_to_make(ours: Ours, denoiser: ed.Denoiser) -> float:
    """What a backend takes before the processes begin, which find what it made; 0 once it is there."""
    begun = time.perf_counter()
    if ours.backend != "eager" and not ours.program.exists():
        ours.ready(denoiser)
    return time.perf_counter() - begun


def _rows(data: str, sides: list[Measured]) -> Iterator[dict[str, str]]:
    theirs = sides[0]
    best = {sampler: min(s.typical for s in sides if s.sampler == sampler) for sampler in {s.sampler for s in sides}}
    for side in sides:
        relative = errors.ratio(side.squares, theirs.squares)
        bars = _bars(side, theirs, side.typical == best[side.sampler])
        times = statistics.median(a / b for a, b in zip(theirs.seconds, side.seconds, strict=True))
        yield {
            "data": data,
            "sampler": side.sampler,
            "network": side.backend,
            "error": f"{errors.root_mean(side.squares):.4f}",
            "relative": "" if side.sampler == theirs.sampler else f"{relative:.2f}",
            "images/s": f"{side.rate:.1f}",
            "times as many": "" if side is theirs else ratio(theirs.seconds, side.seconds),
            "bar": " and ".join(f"{bar:g}" for bar in bars),
            "met": " and ".join("yes" if times >= bar and relative.value <= 1 + 1e-3 else "no" for bar in bars),
            "set-up, s": f"{side.setup:.1f}",
            f"times as many of {JOB:,} images": "" if side is theirs else f"{theirs.whole / side.whole:.2f}",
        }


def _bars(side: Measured, theirs: Measured, is_best: bool) -> list[float]:
    """How many times as many images a side is to draw: 4 if equally close, 1.25 with PyTorch, 1.5 at best."""
    if side is theirs:
        return []
    if side.sampler != theirs.sampler:
        return [4.0] if is_best else []
    return [1.25] * (side.backend == "eager") + [1.5] * is_best


if __name__ == "__main__":
    main()
