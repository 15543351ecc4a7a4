"""``elucidiff figure NAME``: one figure, as PNG and SVG."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from PIL import Image

import elucidiff
from elucidiff.cli.arguments import parse
from elucidiff.design import table
from elucidiff.devices import choose_device
from elucidiff.figures import grid, steps, trajectory
from elucidiff.figures.style import is_picture, save
from elucidiff.sampling.loop import Step
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import parse_seeds
from elucidiff.suggest import suggestion


@dataclass(frozen=True)
class Trajectory:
    """Samples on their way from noise: the state x above D(x; sigma)."""

    model: tyro.conf.Positional[Path]
    """A model folder."""
    seeds: str = "0-2"
    """Seeds, one pair of rows each."""
    n: int = 18
    """Number of Heun steps."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    out: Path = Path("trajectory.png")
    """File to write; an SVG goes beside it."""

    def draw(self) -> Figure:
        """Sample and draw."""
        seeds = parse_seeds(self.seeds)
        sampler = Sampler(n=self.n)
        device = choose_device(self.device)
        denoiser = elucidiff.load(self.model).eval().to(device)
        if not is_picture(denoiser.sample_shape):
            raise ValueError(f"{self.model} makes samples of shape {denoiser.sample_shape}, which are no pictures")
        taken: list[Step] = []
        result = sampler.run(denoiser, seeds, callback=taken.append, device=device)
        x = torch.stack([*(step.x for step in taken), result.x])
        denoised = torch.stack([step.denoised for step in taken])
        sigma_data = float(getattr(denoiser.preconditioning, "sigma_data", 0.5))
        arrays = (x.double().cpu().numpy(), denoised.double().cpu().numpy(), result.sigmas.numpy())
        return trajectory.draw(*arrays, sigma_data=sigma_data)


@dataclass(frozen=True)
class Steps:
    """Where samplers spend their steps: the four columns of Table 1, or karras steps by rho."""

    n: int = 18
    """Number of steps."""
    rho: tuple[float, ...] = ()
    """Compare karras steps with these exponents instead of the columns of the table."""
    out: Path = Path("steps.png")
    """File to write; an SVG goes beside it."""

    def draw(self) -> Figure:
        """Compute and draw."""
        if self.rho:
            levels = {f"rho = {rho:g}": elucidiff.steps.karras(self.n, rho=rho) for rho in self.rho}
        else:
            titles = {"vp": "VP", "ve": "VE", "iddpm": "iDDPM + DDIM", "edm": "EDM"}
            levels = {titles[name]: design.steps(self.n) for name, design in table.NAMES.items()}
        return steps.draw({name: sigmas.numpy() for name, sigmas in levels.items()})


@dataclass(frozen=True)
class Grid:
    """The images of a sample folder in one figure."""

    samples: tyro.conf.Positional[Path]
    """A folder that `elucidiff sample` wrote."""
    columns: int | None = None
    """Images in a row; by default about as many as there are rows."""
    out: Path = Path("grid.png")
    """File to write; an SVG goes beside it."""

    def draw(self) -> Figure:
        """Read and draw."""
        record = self.samples / "samples.json"
        try:
            settings: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
            files = [self.samples / entry["file"] for entry in settings["samples"]]
            nfe = float(settings["nfe"]["per_sample_mean"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{record} is not a record that `elucidiff sample` wrote") from None
        if any(file.suffix != ".png" for file in files):
            raise ValueError(f"the samples in {self.samples} are arrays, not pictures")
        images = np.stack([_read(file) for file in files])
        columns = self.columns or max(1, round(len(images) ** 0.5))
        return grid.draw({f"{len(images)} samples, {nfe:g} network evaluations each": images}, columns=columns)


FIGURES: dict[str, type[Trajectory] | type[Steps] | type[Grid]] = {
    "trajectory": Trajectory,
    "steps": Steps,
    "grid": Grid,
}


def run(arguments: Sequence[str]) -> int:
    """Draw one figure and name the files."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            f"usage: elucidiff figure {{{','.join(FIGURES)}}} [options]\n\n"
            "`elucidiff figure NAME --help` explains each."
        )
        return 0 if arguments else 2
    name = arguments[0]
    if name not in FIGURES:
        raise ValueError(f"unknown figure {name!r}; {suggestion(name, FIGURES)}")
    kind: type[Any] = FIGURES[name]
    options = parse(kind, arguments[1:], prog=f"elucidiff figure {name}")
    for path in save(options.draw(), options.out):
        print(path)
    return 0


def _read(file: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(file) as image:
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
