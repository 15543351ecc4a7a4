"""The course of a run with fixed steps: where the denoiser is asked, as combinations of what was known before.

A solver with fixed steps is linear in the latents z, the fresh noise e_j and the answers D_k of the denoiser,
whatever its order and schedule: Karras et al. 2022, Eq. 4, is linear in x and D. So the whole run is a table,

    x_k = A_k0 z + sum_j A_kj e_j + sum_{i < k} A_ki D_i,    D_k = D(x_k; sigma_k),

with the sample as one more row. The table is read off the sampling loop itself, which is run once on unit vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserModule, Wrapped
from elucidiff.denoisers.conditions import Conditions
from elucidiff.sampling.loop import Noise
from elucidiff.sampling.sampler import Sampler


@dataclass(frozen=True)
class Course:
    """A run of N steps as a table; columns are the latents, the draws of noise, and the K answers of the denoiser.

    Attributes:
        inputs: the denoiser's inputs (K, 1 + draws + K), float64.
        output: the sample (1 + draws + K,).
        sigmas: the noise level of each input (K,), float64.
        draws: how many times fresh noise is drawn.
    """

    inputs: Tensor
    output: Tensor
    sigmas: Tensor
    draws: int

    @property
    def evaluations(self) -> int:
        """K: how often the denoiser is asked."""
        return len(self.sigmas)


class _Asked(Wrapped):
    """A denoiser that answers with the next unit vector, and remembers what it was asked."""

    decides_by_sigma = True
    depends_on_batch = False
    data_std = None

    def __init__(self, denoiser: DenoiserModule, first: int) -> None:
        super().__init__(denoiser)
        self.first = first
        self.inputs: list[Tensor] = []
        self.sigmas: list[float] = []

    def evaluations(self, sigma: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(sigma, dtype=torch.int64)

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None = None) -> Tensor:
        """The next unit vector."""
        self.inputs.append(x.flatten())
        self.sigmas.append(float(sigma))
        return _unit(x, self.first + len(self.inputs) - 1)


def course_of(sampler: Sampler, denoiser: DenoiserModule) -> Course:
    """The course of a sampler's run for a denoiser, whose range and rounding of noise levels are respected.

    Args:
        sampler: of fixed steps.
        denoiser: it is not called.

    Raises:
        ValueError: the solver chooses its steps by the samples; or its steps are not linear in them.
    """
    if sampler.solver.adaptive:
        raise ValueError(
            f"{type(sampler.solver).__name__} chooses its steps by the samples, which a file with fixed steps "
            "cannot: take another solver, such as heun"
        )
    draws, evaluations = _counted(sampler, denoiser)
    course = _read_off(sampler, denoiser, draws, evaluations)
    _check_linear(course, sampler, denoiser)
    return course


def _counted(sampler: Sampler, denoiser: DenoiserModule) -> tuple[int, int]:
    """Numbers of draws of noise and of evaluations in a run."""
    calls: list[int] = []
    asked = _Asked(denoiser, 0)
    x = torch.zeros(1, 1, 1, dtype=torch.float64)
    _run(sampler, asked, x, lambda x, index: calls.append(index) or torch.zeros_like(x))  # type: ignore[func-returns-value]
    return len(calls), len(asked.inputs)


def _read_off(sampler: Sampler, denoiser: DenoiserModule, draws: int, evaluations: int) -> Course:
    columns = 1 + draws + evaluations
    asked = _Asked(denoiser, 1 + draws)
    places = iter(range(1, 1 + draws))
    z = _unit(torch.zeros(1, 1, columns, dtype=torch.float64), 0)
    output = _run(sampler, asked, z, lambda x, _: _unit(x, next(places)))
    return Course(torch.stack(asked.inputs), output.flatten(), torch.tensor(asked.sigmas, dtype=torch.float64), draws)


def _check_linear(course: Course, sampler: Sampler, denoiser: DenoiserModule) -> None:
    """Raise ValueError unless the table gives the result of the loop, for a denoiser that is not linear."""
    generator = torch.Generator().manual_seed(0)
    z, *noise = torch.randn(1 + course.draws, 1, 1, 8, generator=generator, dtype=torch.float64)
    draws = iter(noise)
    expected = _run(sampler, _Bent(denoiser), z, lambda *_: next(draws))
    known = torch.stack([z, *noise, *torch.zeros(course.evaluations, *z.shape, dtype=z.dtype)])
    for k, (row, sigma) in enumerate(zip(course.inputs, course.sigmas, strict=True)):
        known[1 + course.draws + k] = _bent(torch.tensordot(row, known, 1), sigma)
    found = torch.tensordot(course.output, known, 1)
    if not bool((found - expected).abs().max() <= 1e-9 * expected.abs().max().clamp(min=1)):
        raise ValueError(
            f"the steps of {type(sampler.solver).__name__} depend on the samples other than by linear combinations, "
            "which cannot be written as a file: take another solver, such as heun"
        )


class _Bent(_Asked):
    """A denoiser of a closed form that is not linear."""

    def __init__(self, denoiser: DenoiserModule) -> None:
        super().__init__(denoiser, 0)

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None = None) -> Tensor:
        """tanh of a posterior mean."""
        return _bent(x, torch.as_tensor(sigma, dtype=x.dtype))


def _bent(x: Tensor, sigma: Tensor) -> Tensor:
    return torch.tanh(x if bool(sigma.isinf()) else x / (1 + sigma.square()))


def _run(sampler: Sampler, denoiser: DenoiserModule, z: Tensor, noise: Noise) -> Tensor:
    return sampler.prepare(denoiser).sample(denoiser, z, noise=noise)


def _unit(like: Tensor, place: int) -> Tensor:
    values = torch.zeros_like(like)
    values.view(-1)[place : place + 1] = 1  # nothing, beyond the end
    return values
