"""``elucidiff sample MODEL``: draw samples from a trained model, every design choice a flag."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

import elucidiff
from elucidiff.cli.arguments import parse
from elucidiff.cli.images import write_picture, write_sheet
from elucidiff.cli.labels import labels_asked_for
from elucidiff.cli.progress import Progress
from elucidiff.cli.units import makes_pictures, range_advice, units
from elucidiff.data.scaling import to_uint8
from elucidiff.devices import choose_device
from elucidiff.files import write_whole
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import parse_seeds


@dataclass(frozen=True)
class Options:
    """Draw samples from a trained model: a file a seed, and samples.json with all settings and evaluations."""

    model: tyro.conf.Positional[Path]
    """A model folder: runs/.../model, as training writes it."""
    seeds: str = "0-63"
    """Seeds, one sample each: numbers and ranges, such as 0-63,70."""
    labels: str | None = None
    """Classes, taken in turn: 3, or 0-9 for all of ten. For a model of label vectors one of them, 0.3,0.7 (write
    --labels=-0.3,0.7 if it begins with a minus), or a .npy file of rows, taken in turn. If this is left out, each
    seed draws its own class, or one of the training set's vectors that the model keeps as examples."""
    out: Path = Path("samples")
    """Folder to write to."""
    overwrite: bool = False
    """Write into a folder that already holds samples."""
    grid: bool = False
    """Also write grid.png, all samples in one image: a column for each of --labels, or about square. Signals are
    drawn as lines, volumes by their central slices."""
    batch_size: int = 16
    """Samples in one call of the network. It changes a sample's last bits; which seeds go together does not."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""

    table: Literal["vp", "ve", "iddpm", "edm"] = "edm"
    """A column of Table 1 of Karras et al. 2022 for all choices below that are left out."""
    n: int | None = None
    """Number of steps (18)."""
    steps: Literal["karras", "vp", "ve", "iddpm", "log_uniform"] | None = None
    """How the noise levels are spaced."""
    sigma_min: float | None = None
    """Lowest noise level before 0."""
    sigma_max: float | None = None
    """Highest noise level, where sampling starts."""
    rho: float | None = None
    """Exponent of karras steps (7)."""
    epsilon_s: float | None = None
    """Lowest time of vp steps and of the fitted vp schedule (0.001)."""
    m: int | None = None
    """Length of the iddpm table (1000)."""
    c1: float | None = None
    """Bound of the iddpm table (0.001)."""
    c2: float | None = None
    """Offset of the iddpm table (0.008)."""
    schedule: Literal["edm", "vp", "ve", "flow"] | None = None
    """sigma(t) and s(t), the curve that the solver follows."""
    scaling: Literal["none", "vp"] | None = None
    """s(t), if not the schedule's own."""
    solver: Literal["heun", "euler", "rk2", "rk45"] | None = None
    """How a step is taken."""
    alpha: float | None = None
    """Position of the second evaluation of rk2: 1 Heun, 1/2 midpoint, 2/3 Ralston."""
    rtol: float | None = None
    """Relative tolerance of rk45 (1e-5)."""
    atol: float | None = None
    """Absolute tolerance of rk45 (1e-5)."""
    churn: float | None = None
    """S_churn: how much noise is added over the run; 0 is deterministic."""
    churn_sigma_min: float | None = None
    """S_tmin: lowest noise level at which noise is added."""
    churn_sigma_max: float | None = None
    """S_tmax: highest noise level at which noise is added."""
    noise_scale: float | None = None
    """S_noise: standard deviation of the added noise (1)."""

    def sampler(self) -> Sampler:
        """The column of the table with every given flag in place of its choice.

        Raises:
            ValueError: a flag has no effect under the other choices, or a value is out of its range.
        """
        values = {field.name: getattr(self, field.name) for field in fields(Sampler)}
        given = {name: value for name, value in values.items() if value is not None}
        sampler = replace(Sampler.from_table(self.table), **given)
        if unused := sampler.unused(given):
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
            raise ValueError(
                f"{flags} would have no effect with {sampler.steps} steps, the {sampler.schedule} schedule, "
                f"solver {sampler.solver} and churn {sampler.churn:g}: leave it out, or choose what uses it"
            )
        return sampler


def run(arguments: Sequence[str]) -> int:
    """Draw the samples; see ``Options``."""
    options = parse(Options, arguments, prog="elucidiff sample")
    seeds = parse_seeds(options.seeds)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds {options.seeds}: the same seed twice would write the same file twice")
    sampler = options.sampler()
    device = choose_device(options.device)
    denoiser = elucidiff.load(options.model).eval().to(device)
    sampler.sigmas(denoiser)  # refuses a range that the model does not know before anything is written
    asked = None if options.labels is None else labels_asked_for(options.labels, denoiser)
    labels = None if asked is None else asked[torch.arange(len(seeds)) % len(asked)]
    pictures = makes_pictures(denoiser)
    record = options.out / "samples.json"
    if options.out.is_dir() and any(options.out.iterdir()) and not options.overwrite:
        raise ValueError(f"{options.out} already holds files: choose another --out, or add --overwrite")
    record.unlink(missing_ok=True)  # it is written last, so a folder with a record is complete
    if advice := range_advice(sampler, denoiser):
        print(advice, file=sys.stderr)

    start, done, evaluations, sheet, used = time.monotonic(), [], [], [], []
    with Progress("sampling", len(seeds), "images") as progress:
        for rows in _batches(len(seeds), options.batch_size):
            chosen = None if labels is None else labels[rows]
            result = sampler.run(denoiser, seeds[rows], chosen, batch_size=options.batch_size, device=device)
            if not bool(result.x.isfinite().all()):
                raise ValueError(
                    f"seeds {seeds[rows][0]} to {seeds[rows][-1]} gave values that are not finite: "
                    "try a smaller --sigma-max, less --churn, or more steps"
                )
            for seed, x in zip(result.seeds, result.x.cpu(), strict=True):
                done.append(_write(options.out, seed, x, pictures))
            if options.grid:
                sheet.append(result.x.cpu())
            evaluations += torch.as_tensor(result.nfe).expand(len(result.seeds)).tolist()
            if result.labels is not None:
                by_class = denoiser.label_kind == "classes"
                used += (result.labels.argmax(dim=1) if by_class else result.labels).tolist()
            progress.advance(len(result.seeds))
    seconds = time.monotonic() - start

    if sheet:
        columns = len(asked) if asked is not None and len(asked) > 1 else max(1, round(len(seeds) ** 0.5))
        write_sheet(options.out / "grid.png", torch.cat(sheet), columns, pictures=pictures)
    mean_nfe = sum(evaluations) / len(evaluations)
    settings = {
        "elucidiff": elucidiff.__version__,
        "model": str(options.model),
        "sampler": sampler.to_dict(),
        "sigmas": sampler.sigmas(denoiser).tolist(),
        "batch_size": options.batch_size,
        "device": str(device),
        "seconds": round(seconds, 3),
        "nfe": {"per_sample_mean": mean_nfe, "total": sum(evaluations)},
        "samples": [
            {"seed": seed, "file": name, "nfe": nfe, **({"label": used[k]} if used else {})}
            for k, (seed, name, nfe) in enumerate(zip(seeds, done, evaluations, strict=True))
        ],
    }
    write_whole(record, json.dumps(settings, indent=1))
    rate = len(seeds) / max(seconds, 1e-9)
    print(f"{len(seeds)} samples in {options.out} ({rate:.1f} a second, {mean_nfe:g} evaluations each)")
    if not pictures:
        print(f"each a float32 .npy array of shape {denoiser.sample_shape}, {units(denoiser)}")
    return 0


def _batches(count: int, size: int) -> Iterator[slice]:
    if size < 1:
        raise ValueError(f"--batch-size is {size}, but must be at least 1")
    # Several chunks at a time: step noise and solver arithmetic are cheaper for many samples than for few.
    part = max(size, 64 // size * size)
    for start in range(0, count, part):
        yield slice(start, min(start + part, count))


def _write(folder: Path, seed: int, x: torch.Tensor, pictures: bool) -> str:
    """Write one sample as a PNG if it is a picture, else as a float32 array in the model's units; the file's name."""
    if pictures:
        name = f"{seed:08d}.png"
        write_picture(folder / name, to_uint8(x).numpy())
    else:
        name = f"{seed:08d}.npy"
        write_whole(folder / name, lambda path: _save_array(path, x))
    return name


def _save_array(path: Path, x: Any) -> None:
    np.save(path, x.float().numpy(), allow_pickle=False)
