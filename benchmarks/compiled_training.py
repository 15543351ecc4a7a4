"""What ``torch.compile`` costs and gains in training: steps of a preset's network, eager and compiled, in turn.

    python -m benchmarks.compiled_training [--preset fashion-mnist] [--rounds 9]

Prints the seconds that compiling took, and the time of eager steps over that of compiled ones (above 1: compiling
gains).
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable

import torch

from benchmarks.timing import interleaved, ratio
from elucidiff.training.batches import draw
from elucidiff.training.compilation import compile_if_wanted
from elucidiff.training.config import Switch, TrainingConfig
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.presets import preset
from elucidiff.training.state import TrainingState

CPU = torch.device("cpu")
SHAPES = {"digits": ((1, 8, 8), 10), "fashion-mnist": ((1, 28, 28), 10), "cifar10": ((3, 32, 32), 10)}


def steps(config: TrainingConfig, shape: tuple[int, ...], label_dim: int, switch: Switch) -> Callable[[], None]:
    """A function that takes one step of training, compiled before if ``switch`` says so."""
    state = TrainingState(dataclasses.replace(config, compile=switch), shape, label_dim, CPU)
    compile_if_wanted(state, lambda text: None)
    images = torch.rand(config.batch_size, *shape) * 2 - 1
    labels = torch.eye(label_dim)[torch.arange(config.batch_size) % label_dim]

    def step() -> None:
        draws = draw(config.seed, state.step, images.shape, state.objective.noise)
        update(state, noisy_batches(state, images, labels, draws))

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=SHAPES, default="fashion-mnist")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()

    config, (shape, label_dim) = preset(options.preset), SHAPES[options.preset]
    start = time.perf_counter()
    compiled = steps(config, shape, label_dim, "on")
    seconds = time.perf_counter() - start
    print(
        f"{options.preset}, batch {config.batch_size}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"compiling took {seconds:.0f} s")
    took = interleaved({"eager": steps(config, shape, label_dim, "off"), "compiled": compiled}, options.rounds)
    print(f"training: eager / compiled = {ratio(took['eager'], took['compiled'])}")


if __name__ == "__main__":
    main()
