"""The same network, weights and recipe: our training loop against the straightforward way.

    python -m benchmarks.training_throughput [--batch 64] [--rounds 15] [--steps 200] [--compile]

Prints images per second of both sides and their ratio (above 1: ours is faster; the bar is 1.05), measured in turn in
one process, then how far the two loss curves of ``--steps`` steps with equal draws are apart (the bar is 1e-3 of the
loss).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
from collections.abc import Iterator

import torch
from torch import Tensor

import elucidiff as ed
from benchmarks.plain import with_standard_layers
from benchmarks.plain_training import PlainTraining
from benchmarks.timing import interleaved, ratio
from elucidiff.data import to_unit
from elucidiff.training.batches import TrainingData, draw
from elucidiff.training.compilation import compile_if_wanted
from elucidiff.training.config import TrainingConfig
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.presets import preset
from elucidiff.training.state import TrainingState, make_network

CPU = torch.device("cpu")


class Sides:
    """Both ways to train, from equal weights, on equal data.

    Args:
        config: the settings, without augmentation and with a constant learning rate.
        data: what is trained on.
    """

    def __init__(self, config: TrainingConfig, data: TrainingData) -> None:
        self.config = config
        self.state = TrainingState(config, data.shape, data.label_dim, CPU)
        network = make_network(config, data.shape, data.label_dim, 0)
        assert isinstance(network, ed.networks.UNet)
        self.plain = PlainTraining(network, config)
        self._batches = data.batches(config, 0, CPU)
        self._plain_batches = _plain_batches(data, config)

    def ours(self) -> None:
        """One step with everything that belongs to it: reading, drawing, updating."""
        images, labels = next(self._batches)
        draws = draw(self.config.seed, self.state.step, images.shape, self.state.objective.noise)
        update(self.state, noisy_batches(self.state, images, labels, draws))

    def theirs(self) -> None:
        """The same, straightforwardly."""
        self.plain.step(*next(self._plain_batches))

    def losses(self, steps: int) -> tuple[Tensor, Tensor]:
        """Mean losses ``(steps,)`` of our side and of the plain one, with equal images and draws."""
        curves: tuple[list[float], list[float]] = ([], [])
        for images, labels in itertools.islice(self._batches, steps):
            draws = draw(self.config.seed, self.state.step, images.shape, self.state.objective.noise)
            update(self.state, noisy_batches(self.state, images, labels, draws))
            curves[0].append(self.state.meter.summary().mean)
            self.state.meter.reset()
            assert labels is not None
            curves[1].append(self.plain.step(images, labels, draws.level, draws.noise))
        return torch.tensor(curves[0]), torch.tensor(curves[1])


def comparable(config: TrainingConfig, batch_size: int) -> TrainingConfig:
    """The settings as both sides can do them: one batch size, a learning rate that stays once it has risen."""
    return dataclasses.replace(
        config, batch_size=batch_size, max_minutes=None, lr_decay="constant", compile="off", device="cpu"
    )


def largest_difference(ours: Tensor, plain: Tensor) -> float:
    """The largest relative difference of two loss curves."""
    return float(((ours - plain).abs() / plain).max())


def _plain_batches(data: TrainingData, config: TrainingConfig) -> Iterator[tuple[Tensor, Tensor]]:
    """Images in memory, picked at random."""
    images, labels = to_unit(data.train.images()), data.train.labels()
    assert labels is not None
    while True:
        rows = torch.randint(len(images), (config.batch_size,))
        yield images[rows], labels[rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=200, help="of the loss curves; 0: none")
    parser.add_argument("--compile", action="store_true", help="compile our side first")
    options = parser.parse_args()

    config = comparable(with_standard_layers(preset("fashion-mnist")), options.batch)
    data = TrainingData.open(config)
    sides = Sides(config, data)
    count = sum(p.numel() for p in sides.plain.parameters.values()) / 1e6
    print(f"fashion-mnist network, {count:.2f} M parameters, batch {options.batch}")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, cpu")
    if options.compile:
        sides.state.config = dataclasses.replace(config, compile="on")
        compile_if_wanted(sides.state, print)
    seconds = interleaved({"plain": sides.theirs, "ours": sides.ours}, options.rounds)
    for name, values in seconds.items():
        print(f"{name:5} {options.batch / statistics.median(values):7.1f} images/s")
    print(f"training: plain / ours = {ratio(seconds['plain'], seconds['ours'])}; the bar is 1.05")
    if options.steps:
        difference = largest_difference(*Sides(config, data).losses(options.steps))
        print(f"loss curves of {options.steps} steps: largest relative difference {difference:.1e}; the bar is 1e-3")


if __name__ == "__main__":
    main()
