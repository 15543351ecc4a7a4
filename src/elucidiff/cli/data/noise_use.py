"""The part of ``data inspect`` that is about a trained model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import elucidiff
from elucidiff.data.dataset import Dataset
from elucidiff.data.inspecting import Report
from elucidiff.data.inspection import Progress
from elucidiff.data.scaling import to_unit
from elucidiff.data.subsets import evenly_spread
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.design.objectives import EDM, Objective
from elucidiff.design.training_noise import LogNormal
from elucidiff.evaluation.loss_per_sigma import NoiseUse, noise_use, training_objective
from elucidiff.figures import loss_per_sigma
from elucidiff.figures.style import save

# Of the images so many are denoised at every level, and the ideal denoiser knows so many, or so many values.
_IMAGES = 128
_POINTS, _POINT_VALUES = 4096, 1 << 25


@dataclass(frozen=True)
class ModelNoise:
    """A model and the data that it is measured on; :meth:`load` makes it.

    Attributes:
        denoiser: the model, on its device.
        objective: what it was trained with, or the paper's where nobody wrote it down.
        known: whether it was written down.
        dataset: the data.
    """

    denoiser: DenoiserModule
    objective: Objective
    known: bool
    dataset: Dataset

    @classmethod
    def load(cls, path: Path, dataset: Dataset, device: str) -> ModelNoise:
        """Load a model folder, and check that the model can denoise the data.

        Raises:
            OSError: the model cannot be read.
            ValueError: it is damaged, or made for other data.
        """
        denoiser = elucidiff.load(path, device)
        if denoiser.sample_shape != dataset.shape:
            raise ValueError(
                f"{path} makes samples of shape {denoiser.sample_shape}, but those of {dataset.name} are "
                f"{dataset.shape}: choose the data that it was trained on"
            )
        if denoiser.label_dim and denoiser.label_kind == "vectors":
            raise ValueError(
                f"{path} was trained with label vectors: its training noise can be assessed for classes only"
            )
        if denoiser.label_dim and (dataset.classes is None or dataset.label_dim != denoiser.label_dim):
            raise ValueError(
                f"{path} was trained with labels of width {denoiser.label_dim}, but {dataset.name} has no such "
                "classes"
            )
        objective = training_objective(denoiser.facts)
        return cls(denoiser, objective or EDM(), objective is not None, dataset)

    def measure(self, report: Report, progress: Progress) -> NoiseUse:
        """Compare the model with denoisers that know less and more, on images evenly spread over the data."""
        count = max(2, min(_POINTS, _POINT_VALUES // int(np.prod(report.shape))))
        known = evenly_spread(report.readable, count)
        points = to_unit(self.dataset.images(known))
        chosen = torch.from_numpy(evenly_spread(np.arange(len(known)), _IMAGES))
        labels = point_classes = None
        if self.denoiser.label_dim and self.dataset.classes is not None:
            point_classes = self.dataset.classes[torch.from_numpy(known)]
            labels = self.dataset.labels(torch.from_numpy(known)[chosen])
        place = self.denoiser.device
        return noise_use(
            self.denoiser,
            points[chosen].to(place),
            self.objective,
            points=points,
            labels=None if labels is None else labels.to(place),
            point_classes=point_classes,
            progress=progress,
        )

    def write_figure(self, path: Path, use: NoiseUse) -> list[str]:
        """Draw the losses as PNG and SVG; returns what there is to say."""
        suggested = None
        if use.p_mean is not None and use.p_std is not None:
            suggested = LogNormal(use.p_mean, use.p_std).log_density(torch.from_numpy(use.sigma)).exp().numpy()
        figure = loss_per_sigma.draw(
            use.sigma,
            {
                "this model": use.model,
                "linear filter (no training)": use.linear,
                "ideal: knows every image": use.memory,
            },
            use.density,
            suggested=suggested,
            lowest=0.3 * float(use.model.min()),
        )
        save(figure, path)
        unknown = [] if self.known else ["the model does not tell its p_train: the paper's, P_mean -1.2, was assumed"]
        return [f"{path}: loss of the model by noise level", *unknown]
