"""Where the time of a training step goes, for data in memory and for data that are read while training.

    python -m benchmarks.training_profile [--preset fashion-mnist] [--steps 60] [--warm 10]

The second run reads an imported, memory-mapped set through worker processes, as a set too large for the memory is.
Prints a table in Markdown: the share of each stage in the time of a step. "data" is the time that a step waits for
its images.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.stages import watched
from elucidiff.data.importing import import_dataset
from elucidiff.training import batches as batches_module
from elucidiff.training import loop
from elucidiff.training.batches import TrainingData, draw
from elucidiff.training.config import TrainingConfig
from elucidiff.training.ema import WeightAverage
from elucidiff.training.metrics import LossMeter
from elucidiff.training.precision import Arithmetic
from elucidiff.training.presets import preset
from elucidiff.training.state import TrainingState

STAGES = ("data", "draws", "augment", "forward and loss", "backward", "optimiser", "EMA", "metrics", "rest")


class Clock:
    """Adds up the seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, whose time is put down to ``stage``."""

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[stage] += time.perf_counter() - start

        return wrapper


def stages_of(state: TrainingState) -> list[tuple[object, str, str]]:
    """The stages of :func:`elucidiff.training.loop.update`: owner and name of each function, and its stage."""
    return [
        (type(state.objective), "loss", "forward and loss"),
        (Arithmetic, "backward", "backward"),
        (Arithmetic, "step", "optimiser"),
        (WeightAverage, "update", "EMA"),
        (LossMeter, "add", "metrics"),
    ]


def profile(config: TrainingConfig, steps: int, warm: int) -> tuple[dict[str, float], float]:
    """Shares of the stages in the time of a step, and images per second."""
    data = TrainingData.open(config)
    state = TrainingState(config, data.shape, data.label_dim, torch.device("cpu"))
    batches = data.batches(config, 0, state.device)
    clock, start = Clock(), 0.0
    with watched(clock.timed, stages_of(state)):
        for step in range(warm + steps):
            if step == warm:
                clock.seconds.clear()
                start = time.perf_counter()
            images, labels = clock.timed("data", lambda: next(batches))()
            draws = clock.timed("draws", draw)(
                config.seed, state.step, images.shape, state.objective.noise, state.augment
            )
            parts = clock.timed("augment", lambda *a: list(loop.noisy_batches(*a)))(state, images, labels, draws)
            loop.update(state, parts)
    total = time.perf_counter() - start
    shares = {stage: clock.seconds[stage] / total for stage in STAGES[:-1]}
    return {**shares, "rest": 1 - sum(shares.values())}, steps * config.batch_size / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="fashion-mnist")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warm", type=int, default=10, help="steps before the clock starts")
    options = parser.parse_args()
    config = preset(options.preset)
    config = dataclasses.replace(config, compile="off", device="cpu", max_minutes=None)
    with tempfile.TemporaryDirectory() as folder:
        imported = import_dataset(config.data, Path(folder) / "imported").folder
        inside = profile(config, options.steps, options.warm)
        # As if the set were too large for the memory.
        with mock.patch.object(batches_module, "_MEMORY_BYTES", 0):
            outside = profile(dataclasses.replace(config, data=str(imported)), options.steps, options.warm)
    print(
        f"{options.preset}, batch {config.batch_size}, {torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )
    print("| stage | in memory | memory-mapped, read by workers |\n|---|---|---|")
    for stage in STAGES:
        print(f"| {stage} | {inside[0][stage]:.2%} | {outside[0][stage]:.2%} |")
    print(f"| images/s | {inside[1]:.1f} | {outside[1]:.1f} |")


if __name__ == "__main__":
    main()
