"""Small classifiers that are trained on real images: Frechet distances of benchmarks are of their features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.data import Dataset, to_unit
from elucidiff.evaluation.frechet import frechet_distance, moments

BLOCK = 500  # images on the generated side of a Frechet distance


class Classifier(nn.Module):
    """Convolutions, and a linear layer behind them; what enters that layer are the features.

    Args:
        features: the layers up to there.
        width: number of features.
        classes: number of classes.
    """

    def __init__(self, features: nn.Sequential, width: int, classes: int) -> None:
        super().__init__()
        self.features = features
        self.classes = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classes(self.features(images))

    @torch.no_grad()
    def of(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and predicted classes of images in [-1, 1]."""
        found = [self.features(part) for part in images.split(500)]
        return torch.cat(found).double(), torch.cat([self.classes(part).argmax(1) for part in found])


def of_garments(train: Dataset, path: Path, epochs: int = 3) -> Classifier:
    """One for 28x28 garments, trained on ``train`` the first time and read from ``path`` after that."""
    model = _new(
        lambda: Classifier(
            nn.Sequential(
                nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(64 * 49, 64), nn.ReLU(),
            ),
            64, 10,
        )
    )  # fmt: skip
    if path.exists():
        model.load_state_dict(safetensors.torch.load_file(path))
        return model.eval()

    def batches(generator: torch.Generator) -> Iterator[Tensor]:
        for _ in range(epochs):
            yield from torch.randperm(len(train), generator=generator).split(128)

    _train(model, train, batches(torch.Generator().manual_seed(0)), lr=1e-3)
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(model.state_dict(), path)
    return model.eval()


def of_small_images(known: Dataset) -> Classifier:
    """One for images of any size and number of channels, trained for 600 steps."""
    model = _new(
        lambda: Classifier(
            nn.Sequential(
                nn.Conv2d(known.shape[0], 24, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
                nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(3),
                nn.Flatten(), nn.Linear(48 * 9, 32), nn.ReLU(),
            ),
            32, known.label_dim,
        )
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    batches = (torch.randint(len(known), (64,), generator=generator) for _ in range(600))
    _train(model, known, batches, lr=2e-3)
    return model.eval()


def frechet(model: Classifier, images: Tensor, reference: Tensor) -> list[float]:
    """Frechet distances of the features, one for each block of :data:`BLOCK` images, to those of ``reference``."""
    target = moments(model.of(reference)[0].numpy())
    blocks = model.of(images)[0].split(BLOCK)
    return [frechet_distance(*moments(block.numpy()), *target) for block in blocks if len(block) == BLOCK]


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Mean and standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def _new(make: Callable[[], Classifier]) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def _train(model: Classifier, dataset: Dataset, batches: Iterable[Tensor], lr: float) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    images, classes = to_unit(dataset.images()), dataset.classes
    assert classes is not None
    for rows in batches:
        optimiser.zero_grad()
        F.cross_entropy(model(images[rows]), classes[rows]).backward()
        optimiser.step()
