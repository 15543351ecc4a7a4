"""A run before it starts, on the CPU: its times, noise levels, churn and restarts, and whether they suit the data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.data.scaling import is_picture, scaling_of
from elucidiff.denoisers.base import AnyDenoiser, DenoiserLike, as_denoiser
from elucidiff.denoisers.usual import Usual
from elucidiff.design.schedules import Schedule
from elucidiff.design.steps import Karras, Steps, check_levels
from elucidiff.sampling.churn import Churn, Restart


@dataclass(frozen=True)
class Level:
    """One step of Karras et al. 2022, Algorithm 2: from ``t``, raised to ``t_hat``, down to ``t_next``.

    Attributes:
        t: time at which the step starts.
        sigma: noise level there.
        t_hat: time after the noise was raised; equal to ``t`` without churn.
        sigma_hat: noise level there.
        t_next: time at which the step ends; 0 for the last one.
        rescale: s(t_hat) / s(t).
        std: standard deviation of the noise to add, scaling and noise inflation included; 0 without churn.
        restarts: whether a restart raised the noise, so that what was known before is of no use.
    """

    t: float
    sigma: float
    t_hat: float
    sigma_hat: float
    t_next: float
    rescale: float
    std: float
    restarts: bool = False


def noise_grid(
    denoiser: DenoiserLike | None,
    schedule: Schedule,
    sigmas: Sequence[float] | Tensor,
    churn: Churn | None,
    device: torch.device,
    restarts: Sequence[Restart] = (),
) -> list[Level]:
    """The steps between ``sigmas``, each noise level rounded as the denoiser wants, and taken to time and back.

    Args:
        denoiser: its ``round_sigma`` is applied to all noise levels, raised ones included.
        schedule: where the times come from.
        sigmas: noise levels (N + 1,), decreasing (repeats allowed), the last 0 and the others positive. The first may
            be infinite, where a sample is unit noise; no noise is added there.
        churn: how noise is raised, or None.
        device: where the denoiser lives.
        restarts: parts of the run to repeat.

    Raises:
        ValueError: the noise levels are not as above, the schedule does not reach them, or a restart does not fit.
    """
    denoiser = as_denoiser(denoiser, called=False)
    wanted = level_tensor(sigmas)
    check_levels(wanted)
    highest = denoiser.sigma_max
    if math.isinf(float(wanted[0])) and math.isfinite(highest):
        raise ValueError(f"sigmas begins at infinity, but the denoiser supports noise levels up to {highest:g}")
    asked = _rounded(denoiser, wanted[:-1], device)
    endless = asked.isinf()
    t = schedule.time(asked)
    t = torch.where(endless & t.isnan(), math.inf, t)
    sigma, scale = torch.where(endless, math.inf, schedule.sigma(t)), schedule.scale(t)
    gamma = torch.zeros_like(sigma) if churn is None else churn.gamma(sigma, len(sigma))
    raised = (gamma > 0) & ~endless
    asked_hat = torch.where(raised, _rounded(denoiser, sigma + gamma * sigma, device), asked)
    t_hat = torch.where(raised, schedule.time(asked_hat), t)
    sigma_hat = torch.where(raised, schedule.sigma(t_hat), sigma)
    scale_hat = schedule.scale(t_hat)
    added = (sigma_hat.square() - sigma.square()).clamp_min(0).sqrt()
    std = added * scale_hat * (1.0 if churn is None else churn.noise_scale)
    _check_reached(schedule, asked, sigma, torch.stack([t, scale]), ": choose another range")
    raised_to = ", to which the churn raises: use less churn"
    _check_reached(schedule, asked_hat, sigma_hat, torch.stack([t_hat, scale_hat]), raised_to)
    t_next = torch.cat([t[1:], torch.zeros(1, dtype=torch.float64)])
    rescale = torch.where(endless, 1.0, scale_hat / scale)
    columns = (t, sigma, t_hat, sigma_hat, t_next, rescale, torch.where(endless, 0.0, std))
    levels = [Level(*row) for row in torch.stack(columns, dim=1).tolist()]
    # From the last one on, so that what is inserted does not move the others.
    places = [(restart.bottom(wanted), restart) for restart in restarts]
    for index, restart in sorted(places, key=itemgetter(0), reverse=True):
        levels[index:index] = restart.repeats * _way_down(denoiser, schedule, levels[index], restart, device)
    return levels


def _check_reached(schedule: Schedule, asked: Tensor, sigma: Tensor, others: Tensor, advice: str) -> None:
    """Raise ValueError unless the times of the noise levels ``asked`` for are times of these levels, ``sigma``.

    A schedule may end below a level, or be so flat near 0 that time cannot tell small levels apart.
    """
    reached = (torch.isclose(sigma, asked, rtol=0.01, atol=0) & others.isfinite().all(0)) | asked.isinf()
    if not bool(reached.all()):
        missed, met = asked[~reached], asked[reached]
        # Of the levels in a row that are out of reach, the last one is what somebody chose.
        level = float(missed.min() if missed.min() == asked.min() else missed.max())
        nearest = f" ({float(met.min() if level < met.min() else met.max()):g} is in its reach)" if len(met) else ""
        name = type(schedule).__name__
        raise ValueError(f"{name} does not reach the noise level {level:g}{advice}, or another schedule{nearest}")


def _way_down(
    denoiser: AnyDenoiser, schedule: Schedule, bottom: Level, restart: Restart, device: torch.device
) -> list[Level]:
    """The steps of a restart: up from ``bottom`` by fresh noise, and down to it."""
    t = schedule.time(_rounded(denoiser, restart.levels(bottom.sigma), device))
    sigma, scale = schedule.sigma(t), schedule.scale(t)
    if not bool(torch.stack([t, scale]).isfinite().all()) or float(sigma[0]) <= bottom.sigma:
        raise ValueError(f"a restart from {bottom.sigma:g} cannot reach a noise level of {restart.sigma_max:g}")
    times, sigmas = t.tolist(), sigma.tolist()
    std = math.sqrt(sigmas[0] ** 2 - bottom.sigma**2) * float(scale[0]) * restart.noise_scale
    rescale = float(scale[0] / schedule.scale(bottom.t))
    ends = [*times[1:], bottom.t]
    up = Level(bottom.t, bottom.sigma, times[0], sigmas[0], ends[0], rescale, std, restarts=True)
    down = zip(times[1:], sigmas[1:], ends[1:], strict=True)
    return [up, *(Level(time, level, time, level, end, 1.0, 0.0) for time, level, end in down)]


def range_of(denoiser: DenoiserLike | None) -> tuple[float, float]:
    """The lowest and the highest noise level that a denoiser supports."""
    described = as_denoiser(denoiser, called=False)
    return described.sigma_min, described.sigma_max


def clamp_range(denoiser: DenoiserLike, sigma_min: float, sigma_max: float) -> tuple[float, float]:
    """The part of [sigma_min, sigma_max] that the denoiser supports.

    Raises:
        ValueError: not 0 < sigma_min < sigma_max < infinity, or nothing is left.

    >>> import elucidiff as ed
    >>> denoiser = ed.Denoiser(lambda x, c_noise: 0 * x, ed.preconditioning.VE(sigma_min=0.02, sigma_max=100.0))
    >>> ed.sampling.clamp_range(denoiser, 0.002, 80.0)
    (0.02, 80.0)
    """
    return Karras(sigma_min=sigma_min, sigma_max=sigma_max).range_within(*range_of(denoiser))


def levels_from(sigmas: object, denoiser: DenoiserLike) -> Tensor:
    """The noise levels that are meant: those given, or those of steps within the range that the denoiser supports.

    Args:
        sigmas: noise levels; steps, as a part or a text; or None for 18 karras steps.

    Raises:
        TypeError: it is none of these.
        ValueError: a text means no steps, or nothing is left of the denoiser's range.
    """
    if sigmas is None or isinstance(sigmas, Steps | str):
        steps = Karras() if sigmas is None else parts.resolve("steps", sigmas)
        levels: Tensor = steps.within(*range_of(denoiser))
        return levels
    return level_tensor(sigmas)


def level_tensor(sigmas: object) -> Tensor:
    """Noise levels as somebody gave them, as float64 on the CPU.

    Raises:
        TypeError: they are no numbers.
    """
    try:
        return torch.as_tensor(sigmas, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"sigmas is {sigmas!r:.60}, but must be noise levels (N + 1,), such as ed.steps.karras(18)"
        ) from None


def start_of(grid: Sequence[Level], schedule: Schedule) -> float:
    """Standard deviation of the scaled noise with which a run begins, sigma(t_0) s(t_0); 1 if sigma is infinite."""
    first = grid[0]
    return 1.0 if math.isinf(first.sigma) else first.sigma * float(schedule.scale(first.t))


def check_ends(grid: Sequence[Level], why: str) -> None:
    """Raise ValueError if a run begins at an infinite noise level, and say why it cannot."""
    if math.isinf(grid[0].sigma):
        raise ValueError(f"sigmas begins at infinity, but {why}: begin at a finite noise level")


def _rounded(denoiser: AnyDenoiser, sigma: Tensor, device: torch.device) -> Tensor:
    # A foreign denoiser keeps its table where its weights are; a meta tensor has no values to look up.
    there = sigma if device.type in ("mps", "meta") else sigma.to(device)
    return torch.as_tensor(denoiser.round_sigma(there), dtype=torch.float64).cpu()


def range_for(sigma_data: float) -> tuple[float, float]:
    """The paper's range of noise levels, sigma_min and sigma_max, in units of data with this standard deviation.

    Karras et al. 2022 sample from 80 down to 0.002 for sigma_data = 0.5 (Table 1).
    """
    units = sigma_data / 0.5
    return 0.002 * units, 80 * units


def range_advice(sigmas: Tensor, denoiser: AnyDenoiser) -> str | None:
    """Advice if the noise levels do not go from well above the standard deviation of the data to well below it.

    Args:
        sigmas: noise levels (N + 1,), the last 0.
        denoiser: D.
    """
    std = denoiser.data_std
    if std is None:
        return None
    if suits(sigmas, std):
        return None
    if denoiser.usual != Usual() and float(sigmas[0]) >= 10 * std:
        return None  # its own time says how low its last step begins
    high, low = float(sigmas[0]), float(sigmas[-2])
    least, most = range_for(std)
    return (
        f"sigma goes from {high:g} to {low:g}, but the training data have a standard deviation of {std:.3g}: "
        f"the paper's range in their units is sigma_max = {_in_two_digits(most)}, sigma_min = {_in_two_digits(least)}"
    )


def suits(sigmas: Tensor, std: float) -> bool:
    """True if the noise levels go from well above the standard deviation of the data to well below it."""
    return float(sigmas[0]) >= 10 * std and float(sigmas[-2]) <= std / 20


def warn_of_range(sigmas: Tensor, denoiser: AnyDenoiser, frames: int = 1) -> None:
    """Warn if :func:`range_advice` has something to say. The command line, which says it itself, filters this.

    Args:
        sigmas: noise levels (N + 1,), the last 0.
        denoiser: D.
        frames: how many of the function that the user called lie between this one and the user.
    """
    if (advice := range_advice(sigmas, denoiser)) is not None:
        warnings.warn(advice, stacklevel=2 + frames)


def _in_two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


def makes_pictures(denoiser: AnyDenoiser) -> bool:
    """True if samples become 8-bit pictures, grey, RGB or RGBA.

    Those of a model of floating-point data do not, whatever their shape, unless they are latents of pictures.
    """
    scaling = scaling_of(denoiser)
    return scaling.data_dtype == torch.uint8 and is_picture(scaling.data_shape(denoiser.sample_shape))


def usual_range(denoiser: AnyDenoiser) -> tuple[float, float]:
    """sigma_min and sigma_max in which to follow the ODE both ways: the paper's, in units of the model's data."""
    facts = denoiser.facts.get("data")
    std = facts.get("sigma_data") if isinstance(facts, dict) else None
    if scaling_of(denoiser).eight_bits or not isinstance(std, float) or not 0 < std < float("inf"):
        return range_for(0.5)
    return range_for(std)
