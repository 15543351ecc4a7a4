"""Training with two processes of one thread each against one process with two threads.

    python -m benchmarks.two_processes [--network fashion-mnist] [--batch 64] [--steps 6] [--rounds 5]

Both sides wait for each other, so that each has the machine to itself. Prints the ratio of their speeds (above 1: two
processes are faster); the bar is 0.9. Wants a machine with two idle cores.
"""

from __future__ import annotations

import argparse
import os
import time
from multiprocessing.connection import Connection

import torch
from torch.distributed import TCPStore

from benchmarks.processes import Side
from benchmarks.timing import interleaved, ratio
from elucidiff.training.batches import draw
from elucidiff.training.config import TrainingConfig
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.presets import preset
from elucidiff.training.processes import joined
from elucidiff.training.state import TrainingState

SHAPES = {"digits": (1, 8, 8), "fashion-mnist": (1, 28, 28)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=SHAPES, default="fashion-mnist")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    counts = {"one process, two threads": 1, "two processes": 2}
    # Where they meet; it serves as long as it is kept.
    stores = {name: TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) for name in counts}
    shared = (options.network, options.batch, options.steps)
    sides = {
        name: Side(_train, [(*shared, rank, count, stores[name].port) for rank in range(count)])
        for name, count in counts.items()
    }
    seconds = interleaved(sides, options.rounds)
    for side in sides.values():
        side.end()
    for name, times in seconds.items():
        print(f"{name}: {options.batch * options.steps / min(times):.1f} images/s at best")
    print(f"speed of two processes over one = {ratio(*seconds.values())}; the bar is 0.9")


def _train(end: Connection, network: str, batch: int, steps: int, rank: int, count: int, port: int) -> None:
    os.environ.update(
        WORLD_SIZE=str(count), RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE="True",
    )  # fmt: skip
    torch.set_num_threads(2 // count)
    config: TrainingConfig = preset(network)
    config = TrainingConfig(
        data=config.data, conditional=True, network=config.network, batch_size=batch
    ).with_settings({"sigma_data": config.sigma_data})
    with joined("cpu") as (processes, device):
        torch.set_num_threads(2 // count)
        state = TrainingState(config, SHAPES[network], 10, device, processes)
        shape = (batch, *SHAPES[network])
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0))[state.share] * 2 - 1
        labels = torch.eye(10)[torch.arange(batch) % 10][state.share]
        while end.recv():
            for _ in range(steps):
                draws = draw(0, state.step, shape, state.objective.noise).part(state.share)
                update(state, noisy_batches(state, images, labels, draws))
            end.send(time.time())


if __name__ == "__main__":
    main()
