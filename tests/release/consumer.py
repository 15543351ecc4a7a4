"""A program as a user of the library writes it: mypy in strict mode has to accept it, and to know its types."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

import elucidiff as ed


class Network(nn.Module):
    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return x * c_noise.mean()


def draw(model: Path, count: int) -> Tensor:
    denoiser = ed.load(model)
    sampler = ed.Sampler(steps=ed.steps.Karras(12), solver="ipndm:order=3", churn=ed.Churn(30))
    result = sampler.run(denoiser, seeds=range(count))
    samples: Tensor = result.x
    return ed.data.to_uint8(samples)


def train(pictures: str, run: Path) -> float | None:
    config = replace(ed.training.preset("digits"), data=pictures, duration_images=1000)
    result = ed.training.train(config, run, objective=ed.objectives.EDM(p_mean=-1.0))
    return result.loss


def loss(images: Tensor) -> float:
    denoiser = ed.Denoiser(Network(), ed.preconditioning.EDM(sigma_data=0.5))
    values: Tensor = ed.objectives.EDM().loss(denoiser, images)
    return float(values.mean())


def solutions() -> Tensor:
    points = ed.ideal.DataPosterior(torch.zeros(4, 1, 8, 8))
    sigmas: Tensor = ed.steps.karras(18, sigma_min=0.002, sigma_max=80)
    return ed.sample(points, 16, sigmas, solver=ed.solvers.Heun(), schedule=ed.schedules.VP())


def first_image(name: str) -> tuple[Tensor, Tensor | None]:
    dataset = ed.data.open(name)
    return dataset[0]
