"""A pipeline folder of diffusers as a denoiser, with its scheduler's settings kept for :func:`sample_at_home`."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elucidiff.denoisers import model_folder
from elucidiff.denoisers.adapters import AdaptedDenoiser, Clamp, ContinuousTime, DiscreteTime, DynamicThreshold
from elucidiff.denoisers.conditions import Conditions, conditions_from, for_network
from elucidiff.denoisers.opening import opens
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.denoisers.usual import Clip
from elucidiff.design import preconditioning
from elucidiff.design.schedules import Flow
from elucidiff.interop.diffusers import schedulers
from elucidiff.interop.diffusers.continuous import EDMScheduler, FlowEuler, Heun
from elucidiff.interop.diffusers.discrete import DDIM
from elucidiff.interop.diffusers.network import DiffusersNetwork, is_network
from elucidiff.interop.diffusers.packed import load_network
from elucidiff.interop.diffusers.settings import Run, Scheduler, TableScheduler, Thresholding
from elucidiff.interop.home_sampling import draws, home, settings_of, step_count
from elucidiff.untrusted import printable, read_json, reading

FORMAT = "diffusers"
SCHEDULER = "scheduler_config.json"
_NETWORKS = ("unet", "transformer")


def is_pipeline(path: str | os.PathLike[str]) -> bool:
    """True if a folder is one of diffusers': a pipeline's, or a network's with its scheduler's settings beside."""
    folder = Path(path)
    return (folder / "model_index.json").is_file() or _parts(folder) is not None


@opens(is_pipeline)
def load(path: str | os.PathLike[str]) -> AdaptedDenoiser | Denoiser:
    """Read a folder of diffusers into a denoiser on the CPU, in evaluation mode.

    Noise levels are those of the scheduler's table; between them the network is told the position of log sigma, a
    fraction. D is not clipped. What the scheduler does beside that is for :func:`.home_sample`.

    Args:
        path: a pipeline's folder (``model_index.json`` with ``unet/`` or ``transformer/``, and ``scheduler/``), or
            one with ``config.json``, weights and ``scheduler_config.json``.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is damaged, the network or scheduler is none that is known, or diffusers is not installed.
    """
    folder = Path(path)
    parts = _parts(folder)
    if parts is None:
        raise FileNotFoundError(
            f"{printable(str(folder))} is no folder of diffusers: it needs a network (unet/ or transformer/ with "
            f"config.json) and scheduler/{SCHEDULER}"
        )
    network_folder, file = parts
    if (network_folder / "model.json").is_file():
        return model_folder.load(network_folder)  # one of ours, which pipelines.export wrote
    config = read_json(file)
    if not isinstance(config, dict):
        raise ValueError(f"{printable(str(file))} holds no settings")
    scheduler = schedulers.from_config(config, printable(str(file)))
    sign = scheduler.sign if isinstance(scheduler, EDMScheduler) else 1
    network = load_network(network_folder, sign)
    with reading(file):
        denoiser = _denoiser(network, scheduler)
    denoiser.facts["home"] = {"format": FORMAT, "settings": config}
    return denoiser.eval()


def _parts(folder: Path) -> tuple[Path, Path] | None:
    """The network's folder and the scheduler's file."""
    files = [file for file in (folder / "scheduler" / SCHEDULER, folder / SCHEDULER) if file.is_file()]
    networks = [inner for inner in (*(folder / name for name in _NETWORKS), folder) if is_network(inner)]
    return (networks[0], files[0]) if files and networks else None


def _denoiser(network: DiffusersNetwork, scheduler: Scheduler) -> AdaptedDenoiser | Denoiser:
    if isinstance(scheduler, EDMScheduler):
        return Denoiser(network, preconditioning.EDM(scheduler.sigma_data))
    predicts = scheduler.predicts
    assert predicts != "edm"
    time: ContinuousTime | DiscreteTime
    if predicts == "flow":
        assert isinstance(scheduler, FlowEuler | TableScheduler)
        time = ContinuousTime(Flow(), factor=float(scheduler.num_train_timesteps))
    else:
        assert isinstance(scheduler, TableScheduler)
        time = DiscreteTime(torch.from_numpy(scheduler.alpha_bars), between="interpolated")
    denoiser = AdaptedDenoiser(
        network,
        predicts,
        time,
        label_dim=network.label_dim,
        any_labels=network.text,
        sample_shape=network.sample_shape,
    )
    denoiser.usual_clip = _usual_clip(scheduler)
    return denoiser


def _usual_clip(scheduler: Scheduler) -> Clip | None:
    """The clipping of x_0 by the scheduler, if it clips at every step."""
    if isinstance(scheduler, Thresholding) and scheduler.thresholding:
        return DynamicThreshold(scheduler.dynamic_thresholding_ratio, max(1.0, scheduler.sample_max_value))
    if isinstance(scheduler, DDIM | Heun) and scheduler.clip_sample:
        return Clamp(scheduler.clip_sample_range)
    return None


@home(FORMAT)
def sample_at_home(
    denoiser: AdaptedDenoiser | Denoiser,
    noise: Tensor,
    steps: int | str | None,
    labels: Conditions | None,
    step_noise: Tensor | None,
    *,
    scheduler: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    guidance_scale: float | None = None,
    negative: Conditions | None = None,
    eta: float | None = None,
    use_clipped_model_output: bool | None = None,
    s_churn: float | None = None,
    s_tmin: float | None = None,
    s_tmax: float | None = None,
    s_noise: float | None = None,
    mu: float | None = None,
    sigmas: Any = None,
    timesteps: Any = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The result of the folder's scheduler in its pipeline, in float64.

    Args:
        denoiser: from :func:`load`.
        noise: unit noise, which the scheduler multiplies by its own factor.
        steps: number of steps.
        labels: classes, or encoded texts.
        step_noise: unit noise of each step.
        scheduler: another scheduler in place of the folder's: its settings, or their file.
        guidance_scale: w of classifier-free guidance: raw output u + w (c - u), with c for the labels and u for
            ``negative`` (Ho and Salimans 2022).
        negative: encoded texts, or classes, that stand for no condition.
        eta: of DDIM.
        use_clipped_model_output: of DDIM.
        s_churn: of the Euler samplers, with s_tmin, s_tmax and s_noise.
        s_tmin: see s_churn.
        s_tmax: see s_churn.
        s_noise: see s_churn.
        mu: the shift of a flow that depends on the size of the image.
        sigmas: noise levels in place of the scheduler's.
        timesteps: times in place of the scheduler's.
        generator: draws the noise of the steps where ``step_noise`` is not given.
    """
    plan = _scheduler(denoiser, scheduler)
    network = denoiser.network
    assert isinstance(network, DiffusersNetwork)
    count = step_count(steps)
    options = {
        "eta": eta,
        "use_clipped_model_output": use_clipped_model_output,
        "s_churn": s_churn,
        "s_tmin": s_tmin,
        "s_tmax": s_tmax,
        "s_noise": s_noise,
        "mu": mu,
        "sigmas": sigmas,
        "timesteps": timesteps,
    }
    guided = guidance_scale is not None and guidance_scale != 1
    if (guided and negative is None) or (guidance_scale is None and negative is not None):
        raise ValueError("guidance needs both guidance_scale and negative, the condition that it leads away from")
    dtype = next(network.parameters()).dtype
    conditions = [
        None if given is None else for_network(conditions_from(given), noise, dtype) for given in (labels, negative)
    ]

    def raw(x: Tensor, time: float) -> Tensor:
        t = torch.tensor([time], dtype=dtype, device=x.device)
        output: Tensor = network(x.to(dtype), t, conditions[0]).double()
        if guidance_scale is None or not guided:
            return output
        without: Tensor = network(x.to(dtype), t, conditions[1]).double()
        return without + guidance_scale * (output - without)

    start = noise.double()

    given = {name: value for name, value in options.items() if value is not None}
    run = Run(raw, lambda index: draws(step_noise, generator, start, count)(index), given)
    try:
        x = plan.sample(start, count, run)
    except ArithmeticError:
        x = torch.full_like(start, math.nan)
    if not bool(x.isfinite().all()):
        raise ValueError("the home sampler gives not-a-number with these settings and this number of steps")
    return x


def _scheduler(
    denoiser: AdaptedDenoiser | Denoiser, given: str | os.PathLike[str] | Mapping[str, Any] | None
) -> Scheduler:
    """The scheduler of the folder, or the one ``given``, for which the network must be right."""
    own = schedulers.from_config(settings_of(denoiser), "the model's scheduler")
    if given is None:
        return own
    if not isinstance(given, Mapping):
        file = Path(given)
        given = read_json(file / SCHEDULER if file.is_dir() else file)
        if not isinstance(given, dict):
            raise ValueError(f"{printable(str(file))} holds no settings")
    other = schedulers.from_config(given, "scheduler")
    if other.predicts != own.predicts:
        raise ValueError(f"the scheduler is for a network that predicts {other.predicts}, not {own.predicts}")
    return other
