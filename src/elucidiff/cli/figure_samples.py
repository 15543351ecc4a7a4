"""``elucidiff figure trajectory``: samples on their way from noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure

import elucidiff
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.data.scaling import is_picture
from elucidiff.denoisers.opening import load_guide
from elucidiff.devices import choose_device
from elucidiff.figures import trajectory
from elucidiff.sampling.loop import Step
from elucidiff.sampling.seeds import parse_seeds


@dataclass(frozen=True)
class Trajectory:
    """Samples on their way from noise: the state x above D(x; sigma)."""

    model: tyro.conf.Positional[Path]
    """A model folder, a model of another library, or your own code that makes one, package.module:function."""
    seeds: str = "0-2"
    """Seeds, one pair of rows each."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    out: Path = Path("trajectory.png")
    """File to write; an SVG goes beside it."""

    sampling: Annotated[SamplingChoices, tyro.conf.arg(name="")] = field(default_factory=SamplingChoices)

    def draw(self) -> Figure:
        """Sample and draw."""
        seeds = parse_seeds(self.seeds)
        sampler = self.sampling.chosen(self.model)
        if sampler.solver.adaptive:
            raise ValueError("a trajectory has the same steps for all samples: choose a --solver of fixed steps")
        device = choose_device(self.device)
        denoiser = elucidiff.load(self.model, device)
        if not is_picture(denoiser.sample_shape):
            raise ValueError(f"{self.model} makes samples of shape {denoiser.sample_shape}, which are no pictures")
        taken: list[Step] = []
        guide = None if self.sampling.guide is None else load_guide(self.sampling.guide, self.model, device)
        result = sampler.run(denoiser, seeds, callback=taken.append, device=device, guide=guide)
        scales = sampler.prepare(denoiser).schedule.scale(
            torch.tensor([step.t for step in taken], dtype=torch.float64)
        )
        x = torch.stack([*(step.x / float(s) for step, s in zip(taken, scales, strict=True)), result.x])
        denoised = torch.stack([step.denoised for step in taken])
        arrays = (
            x.double().cpu().numpy(),
            denoised.double().cpu().numpy(),
            np.array([*(step.sigma for step in taken), 0.0]),
        )
        return trajectory.draw(*arrays, sigma_data=denoiser.sigma_data)
