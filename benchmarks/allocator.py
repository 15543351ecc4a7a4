"""What it gains that freed memory is kept: page faults, processor time and peak memory of one network's calls.

    OMP_NUM_THREADS=1 python -m benchmarks.allocator MODEL [--batches 16 64] [--images 128] [--rounds 9]

Two processes in turn, one with glibc's allocator as it comes and one as `elucidiff` sets it. Page faults are counts
and processor time is that of one thread, so others on the machine disturb them little.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch

import elucidiff as ed
from benchmarks.processes import Side
from benchmarks.timing import ratio
from elucidiff.denoisers.backends import with_backend
from elucidiff.launch.machine import keep_freed_memory

AS_IT_COMES, KEPT = "as it comes", "memory is kept"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    for batch in options.batches:
        arguments = (options.model, batch, options.images)
        sides = {name: Side(_call, [(*arguments, name == KEPT)]) for name in (AS_IT_COMES, KEPT)}
        measured: dict[str, list[tuple[float, int, int]]] = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, side in sides.items():
                measured[name] += side()
        for side in sides.values():
            side.end()
        print(f"batches of {batch}, {options.images} images")
        for name, rounds in measured.items():
            _, faults, peaks = zip(*rounds, strict=True)
            print(f"  {name}: {statistics.median(faults):,.0f} page faults, peak {max(peaks) / 2**10:.0f} MiB")
        seconds = {name: [each[0] for each in rounds] for name, rounds in measured.items()}
        print(f"  processor time, {AS_IT_COMES} / {KEPT}: {ratio(seconds[AS_IT_COMES], seconds[KEPT])}")


def _call(end: Connection, model: Path, batch: int, images: int, keep: bool) -> None:
    if keep:
        keep_freed_memory()
    torch.set_num_threads(1)
    denoiser = with_backend(ed.load(model).eval(), "eager")
    x = ed.SeededNoise(range(batch)).latents(denoiser.sample_shape)

    def draw(count: int) -> None:
        for _ in range(count):
            denoiser(x, 1.0)

    draw(2)
    while end.recv():
        before, begun = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
        draw(images // batch)
        after = resource.getrusage(resource.RUSAGE_SELF)
        end.send((time.process_time() - begun, after.ru_minflt - before.ru_minflt, after.ru_maxrss))


if __name__ == "__main__":
    main()
