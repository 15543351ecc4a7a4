"""How good generated garments are: features of a judge trained on the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.data import Dataset, to_unit
from elucidiff.evaluation.frechet import frechet_distance, moments

BLOCK = 500  # images on the generated side of a Frechet distance


class Judge(nn.Module):
    """A small convolutional classifier; the 64 values before its last layer are the features."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64 * 49, 64), nn.ReLU(),
        )  # fmt: skip
        self.classes = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.classes(self.features(images))

    @torch.no_grad()
    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and predicted classes of images in [-1, 1]."""
        found = [self.features(part) for part in images.split(500)]
        return torch.cat(found).double(), torch.cat([self.classes(part).argmax(1) for part in found])


def judge(train: Dataset, path: Path, epochs: int = 3) -> Judge:
    """The judge, trained on ``train`` the first time and read from ``path`` after that."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Judge()
    if path.exists():
        model.load_state_dict(safetensors.torch.load_file(path))
        return model.eval()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    images, classes = to_unit(train.images()), train.classes
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(train), generator=generator).split(128):
            optimiser.zero_grad()
            F.cross_entropy(model(images[rows]), classes[rows]).backward()
            optimiser.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(model.state_dict(), path)
    return model.eval()


def frechet(model: Judge, images: Tensor, reference: Tensor) -> list[float]:
    """Frechet distances of the features, one for each block of :data:`BLOCK` images, to those of ``reference``."""
    target = moments(model.describe(reference)[0].numpy())
    blocks = model.describe(images)[0].split(BLOCK)
    return [frechet_distance(*moments(block.numpy()), *target) for block in blocks if len(block) == BLOCK]


def spread(values: list[float]) -> tuple[float, float]:
    """Mean and standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
