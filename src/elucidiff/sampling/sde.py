"""The family of SDEs of Karras et al. 2022, Eq. 6, by the method of Euler and Maruyama."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, as_denoiser
from elucidiff.denoisers.conditions import Conditions
from elucidiff.design.schedules import EDM, Schedule
from elucidiff.devices import state_type
from elucidiff.sampling.checks import FiniteTrace, check_arguments, latents_from, numbered, schedule_from, seed_names
from elucidiff.sampling.grid import check_ends, noise_grid
from elucidiff.sampling.loop import Noise, Step
from elucidiff.sampling.ode import probability_flow
from elucidiff.sampling.seeds import SeededNoise, noise_for


@torch.no_grad()
def sample_sde(
    denoiser: DenoiserLike,
    latents: Tensor,
    sigmas: Sequence[float] | Tensor,
    *,
    beta: Callable[[float], float] | None = None,
    schedule: Schedule | str = EDM(),  # noqa: B008 (frozen)
    labels: Conditions | None = None,
    noise: Noise | None = None,
    callback: Callable[[Step], object] | None = None,
    batch_size: int | None = 16,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw samples by the reverse SDE of Karras et al. 2022, Eq. 6, with Euler-Maruyama steps.

    With scaling, and the score written by the denoiser, a step of length |h| back in time is

        x' = x + h (dx/dt of Eq. 4) + beta |h| s (D(x/s; sigma) - x/s) + s sigma sqrt(2 beta |h|) eps:

    the probability-flow ODE plus Langevin dynamics, whose two terms cancel in the marginals. The last step, to
    sigma = 0, leaves the Langevin part out: no step is left to remove its noise.

    Args:
        denoiser: as for :func:`~elucidiff.sampling.sample`.
        latents: unit Gaussian noise (B, C, *spatial), on the denoiser's device.
        sigmas: noise levels (N + 1,), decreasing, the last 0.
        beta: beta(t) >= 0, the rate at which noise is replaced. By default sigma'(t) / sigma(t), which gives the
            reverse SDE of Song et al. 2021; 0 gives the ODE.
        schedule: sigma(t) and s(t).
        labels: as for :func:`~elucidiff.sampling.sample`.
        noise: called as ``noise(x, index)`` at every step but the last; see :func:`~elucidiff.sampling.sample`.
        callback: called with a :class:`.Step` after each step.
        batch_size: number of samples in every call of a network; see :func:`~elucidiff.sampling.sample`.
        dtype: floating type of the state, float64 or float32.

    Returns:
        The samples, (B, C, *spatial), of type ``dtype``.

    Raises:
        TypeError: an argument is not of its kind.
        ValueError: an argument is out of its range, not finite, or does not fit the others; or
            (:class:`.NotFiniteError`) a sample became NaN or infinite.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.eye(1)[None], torch.ones(1))  # N(0, 1)
    >>> latents = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0))
    >>> x = ed.sampling.sample_sde(denoiser, latents, ed.steps.karras(100), batch_size=None)
    >>> 0.95 < float(x.std()) < 1.05
    True
    """
    denoiser = as_denoiser(denoiser)
    check_arguments(None, (), noise, callback)
    latents = latents_from(latents)
    schedule = schedule_from(schedule)
    grid = noise_grid(denoiser, schedule, sigmas, None, latents.device)
    check_ends(grid, "an SDE has no end there")
    rates = [
        float(schedule.sigma_dot(level.t)) / level.sigma if beta is None else float(beta(level.t)) for level in grid
    ]
    if not all(0 <= rate < float("inf") for rate in rates):
        raise ValueError("beta(t) must be finite and not negative at all times of the run")
    scales = [float(schedule.scale(level.t)) for level in grid]
    ode = probability_flow(denoiser, schedule, latents, labels, batch_size)
    names = seed_names(noise.seeds) if isinstance(noise, SeededNoise) else numbered
    noise = noise_for(latents) if noise is None else noise
    trace = FiniteTrace()

    x = latents.to(state_type(latents.device, dtype)) * (grid[0].sigma * scales[0])
    for index, (level, rate, scale) in enumerate(zip(grid, rates, scales, strict=True)):
        h = level.t_next - level.t
        denoised = ode.denoise(x, level.t)
        x_next = x + h * ode.velocity(x, level.t, denoised)
        if level.t_next > 0:
            epsilon = noise(x, index)
            towards = rate * abs(h) * (scale * denoised - x)
            x_next = x_next + towards + scale * level.sigma * (2 * rate * abs(h)) ** 0.5 * epsilon
        if callback is not None:
            place = (level.t, level.sigma, x)
            callback(Step(index, *place, *place, denoised, ode.evaluations.nfe))
        x = x_next
        trace.note(level.sigma, x)
    trace.check(x, names)
    return x


@torch.no_grad()
def sample_predictor_corrector(
    denoiser: Callable[..., Tensor],
    latents: Tensor,
    sigmas: Sequence[float] | Tensor,
    *,
    snr: float = 0.16,
    corrections: int = 1,
    labels: Tensor | None = None,
    noise: Noise | None = None,
    callback: Callable[[Step], object] | None = None,
    batch_size: int | None = 16,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw samples by reverse diffusion with Langevin corrections: Song et al. 2021, Algorithm 2 (for VE SDEs).

    With the score g = (D(x; sigma) - x) / sigma^2 and v = sigma_i^2 - sigma_(i+1)^2, at each step

        predict: x = x + v g + sqrt(v) eps                        (from sigma_i to sigma_(i+1))
        correct: x = x + e g + sqrt(2 e) eps,  e = 2 (snr sigma_(i+1))^2      (at sigma_(i+1), ``corrections`` times)

    The last step, to sigma = 0, is the prediction without noise, D(x; sigma). The paper's step size is
    e = 2 (snr |eps| / |g|)^2 with norms averaged over the batch, which makes a sample depend on its batch; with each
    sample's own norms the corrections would settle at another distribution, p |g|^2. We take |g| = |eps| / sigma, as
    it is where the denoiser tells all of the noise from the data.

    Args:
        denoiser: as for :func:`~elucidiff.sampling.sample`.
        latents: unit Gaussian noise (B, C, *spatial), on the denoiser's device.
        sigmas: noise levels (N + 1,), decreasing, the last 0.
        snr: signal-to-noise ratio of the corrections, which settle at a variance too large by at most about snr^2.
        corrections: corrector steps at each noise level; 0 is reverse diffusion alone.
        labels: class indices (B,) or rows (B, label_dim).
        noise: called as ``noise(x, index)`` with the number of the draw; see :func:`~elucidiff.sampling.sample`.
        callback: called with a :class:`.Step` after each step.
        batch_size: number of samples in every call of a network; see :func:`~elucidiff.sampling.sample`.
        dtype: floating type of the state, float64 or float32.

    Returns:
        The samples, (B, C, *spatial), of type ``dtype``.

    Raises:
        TypeError: an argument is not of its kind.
        ValueError: an argument is out of its range, not finite, or does not fit the others; or
            (:class:`.NotFiniteError`) a sample became NaN or infinite.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.eye(1)[None], torch.ones(1))  # N(0, 1)
    >>> latents = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0))
    >>> sigmas = ed.steps.log_uniform(100, sigma_min=0.01, sigma_max=50)
    >>> x = ed.sampling.sample_predictor_corrector(denoiser, latents, sigmas, batch_size=None)
    >>> 0.95 < float(x.std()) < 1.1
    True
    """
    denoiser = as_denoiser(denoiser)
    check_arguments(None, (), noise, callback)
    latents = latents_from(latents)
    if not 0 < snr < float("inf"):
        raise ValueError(f"snr is {snr}, but must be a finite number > 0")
    if corrections < 0:
        raise ValueError(f"corrections is {corrections}, but must be at least 0")
    grid = noise_grid(denoiser, EDM(), sigmas, None, latents.device)
    check_ends(grid, "the VE SDE has no end there")
    ode = probability_flow(denoiser, EDM(), latents, labels, batch_size)
    names = seed_names(noise.seeds) if isinstance(noise, SeededNoise) else numbered
    noise = noise_for(latents) if noise is None else noise
    trace = FiniteTrace()
    draws = 0

    x = latents.to(state_type(latents.device, dtype)) * grid[0].sigma
    for index, level in enumerate(grid):
        start, sigma, sigma_next = x, level.sigma, level.t_next
        denoised = ode.denoise(x, sigma)
        removed = sigma**2 - sigma_next**2
        x = x + removed / sigma**2 * (denoised - x)
        if sigma_next > 0:
            x = x + removed**0.5 * noise(x, draws)
            draws += 1
            for _ in range(corrections):
                score = (ode.denoise(x, sigma_next) - x) / sigma_next**2
                size = 2 * (snr * sigma_next) ** 2
                x = x + size * score + (2 * size) ** 0.5 * noise(x, draws)
                draws += 1
        if callback is not None:
            place = (level.t, sigma, start)
            callback(Step(index, *place, *place, denoised, ode.evaluations.nfe))
        trace.note(sigma, x)
    trace.check(x, names)
    return x
