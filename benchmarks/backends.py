"""One call of a network by every backend, against the network as it is loaded.

    OMP_NUM_THREADS=1 python -m benchmarks.backends MODEL... [--batch 16] [--rounds 9] [--compile]

Prints what it takes to make each ready, and ratios of processor time (above 1: faster than as it is loaded). That is
not disturbed by whatever else the machine does, but with one thread only.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import torch

import elucidiff as ed
from benchmarks.timing import interleaved, ratio
from elucidiff.denoisers.backends import Backend
from elucidiff.denoisers.backends.choosing import forward_flops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="compile, too, which takes minutes")
    options = parser.parse_args()
    backends: list[Backend] = ["eager", "onnx", *(["compile"] if options.compile else [])]  # type: ignore[list-item]
    for model in options.models:
        _measure(model, backends, options.batch, options.rounds)


@torch.no_grad()
def _measure(model: str, backends: list[Backend], batch: int, rounds: int) -> None:
    denoiser = ed.load(model)
    x = torch.randn(batch, *denoiser.sample_shape)
    given = [x, torch.linspace(-1, 1, batch)]
    given += [torch.randn(batch, denoiser.label_dim)] if denoiser.label_dim else []
    flops = forward_flops(denoiser.network.blueprint)  # type: ignore[arg-type]
    print(f"{model}: {flops / 1e9:.3g} GFLOP a sample, batch {batch}, {torch.get_num_threads()} threads, ", end="")
    print(f"torch {torch.__version__}")
    sides = {"as loaded": functools.partial(denoiser.network, *given)}
    for backend in backends:
        begun, busy = time.perf_counter(), time.process_time()
        sides[backend] = functools.partial(ed.with_backend(denoiser, backend, batch_sizes=[batch]).network, *given)
        elapsed, busy = time.perf_counter() - begun, time.process_time() - busy
        print(f"  {backend} ready in {elapsed:.1f} s, {busy:.1f} s of them computing")
    calls = max(1, round(0.3 / _seconds(sides["as loaded"])))
    many = {name: functools.partial(_repeat, side, calls) for name, side in sides.items()}
    seconds = interleaved(many, rounds, time.process_time)
    for name in backends:
        print(f"  as loaded / {name} = {ratio(seconds['as loaded'], seconds[name])}")


def _seconds(side: Callable[[], object]) -> float:
    side()
    begun = time.process_time()
    side()
    return time.process_time() - begun


def _repeat(side: Callable[[], object], calls: int) -> None:
    for _ in range(calls):
        side()


if __name__ == "__main__":
    main()
