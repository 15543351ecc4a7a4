"""What one image costs: the sampler's time for it against a plain loop's, which calls the network on one image.

Both take Heun's method in 18 steps with one thread, in turns; medians. The first image of a process is given by
itself: in it the sampler finds out how few rows have the bits of a full batch.

    python benchmarks/one_image.py MODEL [ROUNDS]
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

import elucidiff as ed


def plain(denoiser: ed.Denoiser, sigmas: Tensor, labels: Tensor | None) -> Tensor:
    """Karras et al. 2022, Algorithm 1, with s = 1 and sigma = t."""
    x = sigmas[0] * torch.randn((1, *denoiser.sample_shape), generator=torch.Generator().manual_seed(0)).double()
    for sigma, after in itertools.pairwise(sigmas):
        slope = (x - denoiser(x, sigma, labels).double()) / sigma
        moved = x + (after - sigma) * slope
        if after > 0:
            slope = (slope + (moved - denoiser(moved, after, labels).double()) / after) / 2
        x = x + (after - sigma) * slope
    return x


def seconds(work: Callable[[], object]) -> float:
    """The time that ``work`` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


@torch.no_grad()
def main(model: str, rounds: int) -> None:
    """Print the ratios."""
    torch.set_num_threads(1)
    denoiser = ed.with_backend(ed.load(model), "eager")
    labels = torch.eye(denoiser.label_dim)[:1] if denoiser.label_dim else None
    sampler = ed.Sampler()
    sigmas = sampler.sigmas(denoiser)
    plain(denoiser, sigmas[-3:], labels)
    first = seconds(lambda: sampler.run(denoiser, 1, labels))
    times = [
        (seconds(lambda: sampler.run(denoiser, 1, labels)), seconds(lambda: plain(denoiser, sigmas, labels)))
        for _ in range(rounds)
    ]
    ours, theirs = (statistics.median(each) for each in zip(*times, strict=True))
    ratios = f"one image {ours / theirs:.2f} times a plain loop's ({theirs:.3g} s); the first {first / theirs:.2f}"
    print(f"{model}: {ratios}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5)
