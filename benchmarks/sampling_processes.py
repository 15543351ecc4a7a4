"""Sampling with one single-threaded process a core against one process with as many threads.

    python -m benchmarks.sampling_processes MODEL [--samples 128] [--rounds 5] [--processes 2]

Both sides are started beforehand and wait for each other, so that each has the machine to itself. Prints the ratio of
their speeds (above 1: processes are faster). Wants a machine whose cores are idle.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from multiprocessing.connection import Connection

import torch

import elucidiff as ed
from benchmarks.processes import Side
from benchmarks.timing import interleaved, ratio
from elucidiff.launch.machine import physical_cores


def _side(model: str, samples: int, processes: int, threads: int) -> Side:
    """Processes that draw their part of the samples."""
    ends = [index * samples // processes for index in range(processes + 1)]
    return Side(_draw, [(model, range(start, stop), threads) for start, stop in pairwise(ends)])


def _draw(end: Connection, model: str, seeds: range, threads: int) -> None:
    torch.set_num_threads(threads)
    denoiser, sampler = ed.load(model), ed.Sampler(steps="karras:n=6")
    while end.recv():
        for start in range(seeds.start, seeds.stop, 64):
            sampler.run(denoiser, seeds[start - seeds.start : start - seeds.start + 64])
        end.send("done")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=physical_cores())
    options = parser.parse_args()

    threaded = f"one process, {options.processes} threads"
    split = f"{options.processes} processes, one thread each"
    sides = {
        threaded: _side(options.model, options.samples, 1, options.processes),
        split: _side(options.model, options.samples, options.processes, 1),
    }
    seconds = interleaved(sides, options.rounds)
    for side in sides.values():
        side.end()
    for name, times in seconds.items():
        print(f"{name}: {options.samples / min(times):.1f} samples/s at best (6 Heun steps)")
    print(f"speed of {split} over {threaded} = {ratio(seconds[threaded], seconds[split])}")


if __name__ == "__main__":
    main()
