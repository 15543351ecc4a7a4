"""``elucidiff interpolate MODEL``: the way from one sample to the next, through the latent space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

import elucidiff
from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.samples import write_account, write_samples
from elucidiff.cli.common.sampling import SamplingChoices, check_follows_ode
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.opening import checksum, load_guide
from elucidiff.design.steps import Karras
from elucidiff.devices import choose_device, widest_type
from elucidiff.launch.output_folder import check_empty
from elucidiff.sampling.encoding import decode, encode, mixed, path, round_trip_error, stops
from elucidiff.sampling.given import read_given
from elucidiff.sampling.grid import makes_pictures, usual_range
from elucidiff.sampling.label_choice import labels_or_uniform
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import SeededNoise, labels_for, parse_seeds
from elucidiff.solvers import RK45


@dataclass(frozen=True)
class Options:
    """Draw the way between seeds, or between pictures, which the ODE first takes to their latents.

    Latents turn along the sphere on which Gaussian noise lives. The frames at seeds are those of `elucidiff sample`.
    """

    model: tyro.conf.Positional[Path]
    """A model folder, a model of another library, or your own code that makes one, package.module:function."""
    seeds: str | None = None
    """Seeds to go through: 0,1,2."""
    images: tuple[Path, ...] = ()
    """Pictures, or .npy files of samples, to go through instead."""
    frames: int = 9
    """Frames from one to the next, both of them included."""
    labels: str | None = None
    """Classes, by number or name, or one label vector, or a .npy file: one for all frames, or one for each seed or
    picture; then the rows of numbers that stand for labels are mixed in between. If it is left out, each seed draws
    its own class, as often as the training data had it (uniform: all equally often)."""
    any_class: bool = False
    """Take --labels even if the training data had no image of that class."""
    out: Path = Path("interpolation")
    """Folder to write to: a file a frame, sheet.png and interpolation.json."""
    overwrite: bool = False
    """Write into a folder that already holds files."""
    batch_size: int = 16
    """Samples in one call of the network."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""

    sampling: Annotated[SamplingChoices, tyro.conf.arg(name="")] = field(default_factory=SamplingChoices)
    """How to sample, without noise, between seeds as for `elucidiff sample`; between pictures by default with
    rk45:rtol=1e-5,atol=1e-5, or fixed steps of heun, rk2 or euler, which are 64, and without guidance."""


@dataclass(frozen=True)
class _Way:
    """The frames, and what there is to say about them.

    Attributes:
        x: (F, C, *spatial), on the CPU.
        keys: what the way goes through.
        places: for each frame the key before it, and the weight of the next.
        labels: a row of labels a frame, or None.
        facts: for the record.
    """

    x: Tensor
    keys: list[str]
    places: list[tuple[int, float]]
    labels: Tensor | None
    facts: dict[str, Any]


def run(arguments: Sequence[str]) -> int:
    """Draw the frames; see ``Options``."""
    options = parse(Options, arguments, prog="elucidiff interpolate")
    if (options.seeds is None) == (not options.images):
        raise ValueError("give either --seeds or --images to go through")
    if options.batch_size < 1:
        raise ValueError(f"--batch-size is {options.batch_size}, but must be at least 1")
    device = choose_device(options.device)
    denoiser = elucidiff.load(options.model, device)
    if not options.overwrite:
        check_empty(options.out)
    way = (
        _between_pictures(options, denoiser, device) if options.images else _between_seeds(options, denoiser, device)
    )

    pictures = makes_pictures(denoiser)
    files = write_samples(options.out, [f"{k:04d}" for k in range(len(way.x))], way.x, pictures=pictures)
    rows = [None] * len(files) if way.labels is None else way.labels.tolist()
    facts = {
        "elucidiff": elucidiff.__version__,
        "model": str(options.model),
        "checksum": checksum(options.model),
        "through": way.keys,
        **way.facts,
        "frames": [
            {"file": file, "after": way.keys[k], "weight_of_the_next": w, **({} if row is None else {"label": row})}
            for file, (k, w), row in zip(files, way.places, rows, strict=True)
        ],
    }
    # A row a stretch; the last frame of one is the first of the next.
    stretches = range(0, len(way.x) - 1, options.frames - 1)
    sheet = torch.cat([way.x[start : start + options.frames] for start in stretches])
    write_account(options.out, "interpolation.json", sheet, options.frames, facts, pictures=pictures)
    print(f"{len(files)} frames in {options.out}")
    if way.labels is not None:
        alike = bool((way.labels == way.labels[0]).all())
        print("all frames have the same label" if alike else "labels are mixed between those of both ends")
    if "round_trip_rms" in way.facts:
        worst = max(way.facts["round_trip_rms"])
        print(
            f"pictures come back with a root mean square error of at most {worst:.2g} (values are {_span(denoiser)})"
        )
    return 0


def _between_seeds(options: Options, denoiser: DenoiserModule, device: torch.device) -> _Way:
    assert options.seeds is not None
    seeds = list(parse_seeds(options.seeds))
    places = stops(len(seeds), options.frames)
    sampler, chosen = options.sampling.chosen(options.model), options.sampling
    if not sampler.deterministic:
        raise ValueError(f"{sampler.to_text()} adds noise, so frames would not follow each other smoothly")
    guide = None if chosen.guide is None else load_guide(chosen.guide, options.model, device)
    guided = sampler.guided(denoiser, guide)
    prepared = sampler.prepare(guided)
    asked = _asked(options, denoiser, len(seeds))
    noise = SeededNoise(seeds)
    latents, _ = path(noise.latents(denoiser.sample_shape), options.frames)
    rows = labels_for(denoiser, noise, asked, any_class=True)
    labels = mixed(rows.expand(len(seeds), -1), places) if isinstance(rows, Tensor) else None
    evaluations: list[Any] = []
    names = [f"frame {k}, {'after' if w else 'at'} seed {seeds[key]}," for k, (key, w) in enumerate(places)]
    x = prepared.sample(
        guided,
        latents.to(device),
        labels=None if labels is None else labels.to(device),
        batch_size=options.batch_size,
        callback=lambda step: evaluations.append(step.nfe),
        names=names,
    )
    facts = {"sampler": sampler.to_plain(), "nfe": torch.as_tensor(evaluations[-1]).tolist()}
    if chosen.guide is not None:
        facts["guide"] = checksum(chosen.guide)
    return _Way(x.cpu(), [f"seed {seed}" for seed in seeds], places, labels, facts)


def _between_pictures(options: Options, denoiser: DenoiserModule, device: torch.device) -> _Way:
    usual = Sampler(Karras(64, *usual_range(denoiser)), solver=RK45(1e-5, 1e-5))
    sampler = options.sampling.chosen(options.model, usual)
    check_follows_ode(sampler, options.sampling)
    prepared = sampler.prepare(denoiser)
    places = stops(len(options.images), options.frames)
    asked = _asked(options, denoiser, len(options.images))
    if not isinstance(asked, Tensor) and denoiser.label_dim:
        raise ValueError("the model takes labels: give that of the pictures with --labels, one for all or one each")
    given = [read_given(file, denoiser) for file in options.images]
    for file, x in zip(options.images, given, strict=True):
        if tuple(x.shape) != denoiser.sample_shape:
            raise ValueError(f"{file} has shape {tuple(x.shape)}, but the model makes {denoiser.sample_shape}")
    sigmas, solver, schedule = prepared.sigmas, prepared.solver, prepared.schedule
    rows = asked.expand(len(given), -1) if isinstance(asked, Tensor) else None
    x = torch.stack(given).to(device, widest_type(device))

    def there(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.to(device)

    size = options.batch_size
    along: dict[str, Any] = {"solver": solver, "schedule": schedule, "batch_size": size}
    latents, nfe_up = encode(denoiser, x, sigmas, labels=there(rows), **along)
    between, _ = path(latents, options.frames)
    labels = None if rows is None else mixed(rows, places)
    frames, nfe_down = decode(denoiser, between, sigmas, labels=there(labels), **along)
    back = round_trip_error(x, frames[:: options.frames - 1])
    facts = {
        "sampler": sampler.to_plain(),
        "sigma_max": float(sigmas[0]),
        "sigma_min": float(sigmas[-2]),
        "round_trip_rms": back.tolist(),
        "nfe_encode": torch.as_tensor(nfe_up).tolist(),
        "nfe_decode": torch.as_tensor(nfe_down).tolist(),
    }
    return _Way(frames.cpu(), [str(file) for file in options.images], places, labels, facts)


def _asked(options: Options, denoiser: DenoiserModule, keys: int) -> Tensor | Literal["uniform"] | None:
    """The rows of ``--labels``, (1, label_dim) or (K, label_dim), or how seeds are to draw theirs."""
    asked = labels_or_uniform(options.labels, denoiser, any_class=options.any_class)
    if not isinstance(asked, Tensor):
        return asked
    rows = denoiser.known_labels.rows(asked)
    if len(rows) not in (1, keys):
        raise ValueError(f"--labels {options.labels} are {len(rows)} for {keys}: give one for all, or one each")
    return rows


def _span(denoiser: DenoiserModule) -> str:
    return "in [-1, 1]" if makes_pictures(denoiser) else "in the units of the training data"
