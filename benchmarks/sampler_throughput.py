"""The same weights, the same 18 Heun steps: our sampler and network against the straightforward way.

    python -m benchmarks.sampler_throughput [--network fashion-mnist] [--batch 64] [--rounds 5]

Prints ratios of time (above 1: ours is faster) and the sampler's overhead: the share of the time that is not spent in
the network.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

import elucidiff as ed
from benchmarks.plain import PlainDDPMpp, plain_heun, with_standard_layers
from benchmarks.timing import interleaved, ratio
from elucidiff.denoisers.shapes import label_rows
from elucidiff.training.presets import preset
from elucidiff.training.state import make_network

SHAPES = {"digits": (1, 8, 8), "fashion-mnist": (1, 28, 28)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=SHAPES, default="fashion-mnist")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    config = with_standard_layers(preset(options.network))
    shape = SHAPES[options.network]
    network = make_network(config, shape, 10, 0).eval()
    _make_heard(network)
    plain = PlainDDPMpp(network)
    denoiser = ed.Denoiser(network, ed.preconditioning.EDM(config.sigma_data)).eval()
    latents = ed.SeededNoise(range(options.batch)).latents(shape)
    labels = label_rows(torch.arange(options.batch) % 10, 10)
    sigmas = ed.steps.karras(18)
    noise_labels = torch.linspace(-1.5, 1.1, options.batch)

    clock = _NetworkClock(network)
    overheads: list[float] = []

    def ours() -> Tensor:
        clock.seconds = 0.0
        start = time.perf_counter()
        x = ed.sample(denoiser, latents, sigmas, labels=labels)
        overheads.append(1 - clock.seconds / (time.perf_counter() - start))
        return x

    def theirs() -> Tensor:
        return plain_heun(plain, latents, sigmas, labels, config.sigma_data)

    difference = (ours() - theirs()).abs().max().item()
    print(f"network {options.network}, {sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters")
    print(f"{options.batch} images, {torch.get_num_threads()} threads, torch {torch.__version__}, cpu")
    print(f"largest difference between the samples of both sides: {difference:.1e}")

    with torch.no_grad():
        forward = interleaved(
            {
                "plain": lambda: plain(latents, noise_labels, labels),
                "ours": lambda: network(latents, noise_labels, labels),
            },
            options.rounds,
        )
        sampling = interleaved({"plain": theirs, "ours": ours}, options.rounds)
    print(f"forward pass, whole batch: plain / ours = {ratio(forward['plain'], forward['ours'])}; the bar is 1")
    print(f"sampling, chunks of 16:    plain / ours = {ratio(sampling['plain'], sampling['ours'])}")
    overhead = statistics.median(overheads[2:])
    print(f"sampler overhead: {overhead:.2%} of the time is spent outside the network; the bar is 2%")


class _NetworkClock:
    """Adds up the time that a network spends in its forward pass."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.seconds, self._start = 0.0, 0.0
        network.register_forward_pre_hook(lambda *_: setattr(self, "_start", time.perf_counter()))
        network.register_forward_hook(self._stop)

    def _stop(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._start


def _make_heard(network: torch.nn.Module) -> None:
    """Give layers that start at about zero ordinary weights, so that results are not compared at zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0, fan_in**-0.5, generator=generator)


if __name__ == "__main__":
    main()
