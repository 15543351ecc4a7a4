"""A sample on its way: the noisy state above the denoiser's view of it (after Karras et al. 2022, Fig. 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from elucidiff.data.scaling import is_picture
from elucidiff.denoisers.base import DenoiserLike, as_denoiser
from elucidiff.figures.style import INK, level_text, new_figure, picture, pixels
from elucidiff.sampling.loop import Step
from elucidiff.sampling.sampler import Sampler


def draw(
    x: npt.NDArray[np.float64],
    denoised: npt.NDArray[np.float64],
    sigmas: npt.NDArray[np.float64],
    *,
    sigma_data: float = 0.5,
    most: int = 10,
) -> Figure:
    """Pairs of rows, one pair a sample: the state x above D(x; sigma), from the highest noise level to the lowest.

    The state is shown as ``x / sqrt(1 + (sigma / sigma_data)^2)``, which keeps its contrast the same at every level.

    Args:
        x: states at the start of each step, then the final one, ``(N + 1, B, C, H, W)``, without scaling (s = 1).
        denoised: D(x; sigma) at the start of each step, ``(N, B, C, H, W)``.
        sigmas: the noise levels, ``(N + 1,)``, the last 0.
        sigma_data: standard deviation of the data, for display only.
        most: columns to show; with more steps an even choice of them is shown, always with the first and the last.
    """
    steps, samples = denoised.shape[:2]
    shown = np.unique(np.linspace(0, steps, min(most, steps + 1)).round().astype(int))
    # After the last step the state is the sample itself: both rows show it.
    below = np.concatenate([denoised, x[-1:]])
    aspect = x.shape[-2] / x.shape[-1]
    cell = min(1.0, 10.0 / len(shown))
    figure = new_figure(cell * len(shown) + 0.9, (cell * aspect + 0.1) * 2 * samples + 0.4)
    axes = figure.subplots(2 * samples, len(shown), squeeze=False)
    for column, step in enumerate(shown):
        contrast = np.sqrt(1.0 + (sigmas[step] / sigma_data) ** 2)
        for sample in range(samples):
            picture(axes[2 * sample][column], pixels(x[step, sample] / contrast))
            picture(axes[2 * sample + 1][column], pixels(below[step, sample]))
        axes[0][column].set_title(level_text(float(sigmas[step])), fontsize=8, color=INK, pad=4)
    for row in range(2 * samples):
        axes[row][0].text(
            -0.12, 0.5, r"$D(x; \sigma)$" if row % 2 else "$x$", transform=axes[row][0].transAxes,
            ha="right", va="center", fontsize=8, color=INK,
        )  # fmt: skip
    axes[0][0].text(
        -0.12, 1.0, r"$\sigma$", transform=axes[0][0].transAxes, ha="right", va="bottom", fontsize=8, color=INK
    )
    return figure


def draw_run(
    denoiser: DenoiserLike, sampler: Sampler, seeds: Sequence[int], guide: DenoiserLike | None = None
) -> Figure:
    """Sample, and draw the way of each seed; see :func:`draw`.

    Args:
        denoiser: D, of pictures.
        sampler: of fixed steps.
        seeds: one a pair of rows.
        guide: the worse model of autoguidance; see :meth:`.Sampler.run`.

    Raises:
        ValueError: the samples are no pictures, or the solver chooses its steps for each sample.
    """
    if sampler.solver.adaptive:
        raise ValueError("a trajectory has the same steps for all samples: choose a --solver of fixed steps")
    denoiser = as_denoiser(denoiser)
    if not is_picture(denoiser.sample_shape):
        raise ValueError(f"the model makes samples of shape {denoiser.sample_shape}, which are no pictures")
    taken: list[Step] = []
    result = sampler.run(denoiser, seeds, callback=taken.append, guide=guide)
    times = torch.tensor([step.t for step in taken], dtype=torch.float64)
    scales = sampler.prepare(denoiser).schedule.scale(times)
    x = torch.stack([*(step.x / float(s) for step, s in zip(taken, scales, strict=True)), result.x])
    denoised = torch.stack([step.denoised for step in taken])
    sigmas = np.array([*(step.sigma for step in taken), 0.0])
    return draw(x.double().cpu().numpy(), denoised.double().cpu().numpy(), sigmas, sigma_data=denoiser.sigma_data)
