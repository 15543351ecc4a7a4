"""How good generated garments are: features of a judge trained on the real ones, and the loss on unseen images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import elucidiff as ed
from elucidiff.data import Dataset, to_unit
from elucidiff.evaluation import loss_per_sigma
from elucidiff.evaluation.frechet import frechet_distance, moments

BLOCK = 500  # images on the generated side of a Frechet distance
QUANTILES = 24


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


def held_out_loss(denoiser: ed.Denoiser, held_out: Dataset, count: int = 500) -> float:
    """The loss of Karras et al. 2022, Eq. 2, with the paper's p_train and lambda (their defaults for CIFAR-10).

    The mean over the quantiles of p_train; the same images and the same noise for every model, whatever it was
    trained on.
    """
    objective = ed.objectives.EDM()
    rows = torch.linspace(0, len(held_out) - 1, count).long()
    images, labels = to_unit(held_out.images(rows)), held_out.labels(rows)
    levels = torch.special.ndtri((torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES)
    losses = loss_per_sigma(
        denoiser,
        images,
        objective.noise.from_base(levels),
        weight=objective.weight,
        generator=torch.Generator().manual_seed(1),
        labels=labels,
        batch_size=50,
    )
    return float(losses.mean())


def spread(values: list[float]) -> tuple[float, float]:
    """Mean and standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
