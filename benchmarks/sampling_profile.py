"""Where the time of a sampling job goes, from seeds to files.

    OMP_NUM_THREADS=1 python -m benchmarks.sampling_profile MODEL [--images 64] [--batch 16] [--backend eager]

Heun's method with 18 steps in one process, and the solver of few evaluations beside it. Prints the share of each
stage in processor time, as a table in Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import elucidiff as ed
from benchmarks.stages import watched
from elucidiff.denoisers.backends import BACKENDS, with_backend
from elucidiff.launch.machine import keep_freed_memory
from elucidiff.sampling import Sampler, sampler
from elucidiff.sampling.fixed_batch import FixedBatch
from elucidiff.sampling.jobs import Job, Task, run_job
from elucidiff.sampling.jobs import worker as drawing
from elucidiff.sampling.jobs.folder import ShardWriter
from elucidiff.sampling.seeds import SeedRanges

RUNS = {"heun, 18 steps": Sampler(), "ipndm, 10 steps": Sampler(steps="karras:n=10", solver="ipndm:order=3")}


class Clock:
    """Adds up the processor time of each stage, without what is put down to another stage within."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._stages: list[str] = ["rest"]
        self._since = time.process_time()

    def turn(self) -> None:
        """Put what has passed since the last turn down to the stage at hand."""
        now = time.process_time()
        self.seconds[self._stages[-1]] += now - self._since
        self._since = now

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, whose time is put down to ``stage``."""

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.turn()
            self._stages.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self.turn()
                self._stages.pop()

        return wrapper


def stages_of(denoiser: ed.Denoiser) -> list[tuple[object, str, str]]:
    """The stages of a job: owner and name of each function, and what to call its time."""
    return [
        (denoiser.network, "forward", "network"),
        (type(denoiser), "forward", "preconditioning"),
        (FixedBatch, "__call__", "chunks"),
        (sampler, "sample", "solver"),
        (sampler, "begin", "latents and labels"),
        (drawing, "encoded", "PNG"),
        (ShardWriter, "write", "files"),
    ]


def profile(denoiser: ed.Denoiser, choices: Sampler, images: int, batch: int) -> dict[str, float]:
    """Shares of the stages."""
    job = Job(choices, SeedRanges([range(images)]), batch_size=batch, output="zip")
    with tempfile.TemporaryDirectory() as folder:
        run_job(lambda index: Task(job, denoiser, torch.device("cpu")), Path(folder) / "warm", processes=1)
        clock = Clock()
        with watched(clock.timed, stages_of(denoiser)):
            run_job(lambda index: Task(job, denoiser, torch.device("cpu")), Path(folder) / "timed", processes=1)
        clock.turn()
    total = sum(clock.seconds.values())
    return {stage: seconds / total for stage, seconds in clock.seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--backend", choices=BACKENDS, default="eager")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    denoiser = with_backend(ed.load(options.model).eval(), options.backend, batch_sizes=[options.batch])
    shares = {name: profile(denoiser, choices, options.images, options.batch) for name, choices in RUNS.items()}
    print(f"{options.model}, {options.images} images, batches of {options.batch}, {options.backend}\n")
    print(f"| stage | {' | '.join(shares)} |\n|---|{'---|' * len(shares)}")
    first = next(iter(shares.values()))
    for stage in sorted(first, key=first.__getitem__, reverse=True):
        print(f"| {stage} | {' | '.join(f'{share[stage]:.2%}' for share in shares.values())} |")


if __name__ == "__main__":
    main()
