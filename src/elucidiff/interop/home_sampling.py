"""The samplers of other libraries as they are at home: spacing, clipping and start, for comparison with ours.

A reader of a foreign format says on the denoiser where it came from, in ``facts["home"]``, and registers a function
that samples as that library does::

    @home("openai")
    def sample_at_home(denoiser, noise, steps, labels, step_noise, *, sampler="ddim", eta=0.0): ...

The function gets the denoiser, unit noise, and options under the names that they have there.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from elucidiff.denoisers.adapters import AdaptedDenoiser, InUnits
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.loop import sample
from elucidiff.suggest import suggestion

ForeignModel = AdaptedDenoiser | Denoiser | InUnits
"""The denoisers that readers make; each says in its facts where it came from."""

HomeSampler = Callable[..., Tensor]
Draw = Callable[[int], Tensor]
_HOMES: dict[str, HomeSampler] = {}


def home(name: str) -> Callable[[HomeSampler], HomeSampler]:
    """Register a function as the home sampler of a format, as above; ``facts["home"]["format"]`` names it."""

    def register(sampler: HomeSampler) -> HomeSampler:
        _HOMES[name] = sampler
        return sampler

    return register


def settings_of(denoiser: ForeignModel) -> Mapping[str, Any]:
    """The settings under their home names, with which a foreign model was read."""
    settings: Mapping[str, Any] = denoiser.facts["home"]["settings"]
    return settings


@torch.no_grad()
def home_sample(
    denoiser: ForeignModel,
    noise: Tensor,
    steps: int | str | None = None,
    labels: Tensor | None = None,
    step_noise: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Draw samples as the library does from which a model came.

    Args:
        denoiser: a model that a reader of this package returned.
        noise: unit Gaussian noise (B, C, *spatial), which becomes the start as it does there.
        steps: number of steps; some libraries have other ways of saying it, which are taken, too.
        labels: class indices (B,) or rows (B, label_dim), or the conditions that the model takes.
        step_noise: unit noise of a stochastic sampler (N, B, C, *spatial), one draw a step, used or not. Without, it
            is drawn from the option ``generator``.
        options: those of the home sampler, under their names there.

    Returns:
        Samples in [-1, 1] units, (B, C, *spatial), in the type of ``noise``.

    Raises:
        TypeError: ``noise`` is no floating-point tensor.
        ValueError: the model has no home sampler; an option is unknown there, or out of its range; the noise of the
            steps is missing, or not of their number and shape.

    >>> import elucidiff as ed
    >>> denoiser = ed.interop.flow_matching.adapt(lambda x, t: -x)  # dx/dt = -x
    >>> ed.interop.home_sample(denoiser, torch.ones(1, 1), steps=2).tolist()  # two steps of Euler: (1 - 1/2)^2
    [[0.25]]
    """
    if not isinstance(noise, Tensor) or not noise.is_floating_point():
        raise TypeError("noise must be a floating-point tensor (B, C, *spatial)")
    come_from = denoiser.facts.get("home", {}).get("format") if isinstance(denoiser, ForeignModel) else None
    if come_from not in _HOMES:
        raise ValueError(
            f"a {type(denoiser).__name__} that was not read from another library's format has no home sampler: "
            "sample with elucidiff.sample"
        )
    sampler = _HOMES[come_from]
    parameters = inspect.signature(sampler).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise ValueError(f"the sampler of {come_from} has no option {name!r}: {suggestion(name, known)}")
    shape = denoiser.sample_shape
    if shape and tuple(noise.shape[1:]) != shape:
        raise ValueError(f"noise has shape {tuple(noise.shape)}, but the model makes samples of {shape}")
    return sampler(denoiser, noise, steps, labels, step_noise, **options).to(noise.dtype)


def along(
    denoiser: Callable[..., Tensor],
    noise: Tensor,
    sigmas: Tensor,
    solver: str,
    labels: Tensor | None,
    churn: Churn | None = None,
    step_noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Our own loop over the noise levels of another library, for those that sample as Karras et al. 2022 do.

    Raises:
        ValueError: there is churn, and no noise for it; see :func:`draws`.
    """
    draw = draws(step_noise, generator, noise, len(sigmas) - 1) if churn else None
    return sample(
        denoiser,
        noise,
        sigmas,
        solver=solver,
        churn=churn,
        labels=labels,
        noise=None if draw is None else lambda x, index: draw(index).to(x),
        batch_size=None,
    )


def step_count(steps: Any, what: str = "steps") -> int:
    """``steps`` as a number of steps.

    Raises:
        ValueError: it is no whole number of at least 1.
    """
    if isinstance(steps, bool) or not isinstance(steps, SupportsIndex) or operator.index(steps) < 1:
        raise ValueError(f"{what} is {steps!r}, but this sampler takes a whole number of steps, at least 1")
    return operator.index(steps)


def one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    """``value``, if it is one of those that the option ``name`` can have.

    Raises:
        ValueError: it is not.
    """
    if value not in known:
        raise ValueError(f"{name} is {value!r}: {suggestion(str(value), known)}")
    return value


def draws(step_noise: Tensor | None, generator: torch.Generator | None, x: Tensor, count: int) -> Draw:
    """The unit noise of each step, as a function of its index: that which was given, or fresh from a generator.

    Raises:
        ValueError: there is neither, or what was given does not fit ``count`` steps of ``x``.
    """
    if step_noise is not None:
        if tuple(step_noise.shape) != (count, *x.shape):
            wanted = (count, *x.shape)
            raise ValueError(f"step_noise has shape {tuple(step_noise.shape)}, but {wanted} is needed, a draw a step")
        given = step_noise.to(x.device, x.dtype)
        return lambda index: given[index]
    if generator is None:
        raise ValueError("this sampler adds noise: give step_noise (a draw a step), or generator=torch.Generator()")
    made = generator

    def fresh(index: int) -> Tensor:
        return torch.randn(x.shape, generator=made, device=made.device, dtype=x.dtype).to(x.device)

    return fresh
