"""The way from one sample to the next: latents turn on the sphere, and the ODE leads each to an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, DenoiserModule, as_denoiser
from elucidiff.denoisers.tuned import refuse_tuned
from elucidiff.devices import widest_type
from elucidiff.sampling.encoding import check_follows_ode, decode, encode, round_trip_error, usual_both_ways
from elucidiff.sampling.given import labels_or_uniform
from elucidiff.sampling.sampler import Sampler, SamplerChoice
from elucidiff.sampling.seeds import SeededNoise, labels_for

TOLERANCE = 1e-5
"""Of RK45, where samples are taken to their latents and nobody chooses how."""

Asked = str | Tensor | Sequence[Any] | None


@dataclass(frozen=True)
class Interpolation:
    """Frames on the way through some keys: seeds, or samples.

    Attributes:
        x: (F, C, *spatial), on the CPU.
        places: for each frame the key before it, and the weight of the next.
        labels: a row of labels a frame, or None.
        sampler: all sampling choices.
        sigmas: the noise levels asked for, (N + 1,).
        nfe: network evaluations of each frame: one number, or (F,) from an adaptive solver.
        nfe_encode: of each key on its way to its latent; None between seeds.
        round_trip: root mean square difference of each key and its frame, (K,); None between seeds.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 2), torch.eye(2)[None], torch.ones(1))
    >>> way = ed.sampling.interpolate_seeds(denoiser, [0, 1], frames=5)
    >>> way.x.shape, way.places[1]
    (torch.Size([5, 2]), (0, 0.25))
    """

    x: Tensor
    places: list[tuple[int, float]]
    labels: Tensor | None
    sampler: Sampler
    sigmas: Tensor
    nfe: int | Tensor
    nfe_encode: int | Tensor | None = None
    round_trip: Tensor | None = None


def interpolate_seeds(
    denoiser: DenoiserLike,
    seeds: Sequence[int],
    frames: int = 9,
    *,
    sampler: SamplerChoice = None,
    labels: Asked = None,
    any_class: bool = False,
    guide: DenoiserLike | None = None,
    batch_size: int = 16,
) -> Interpolation:
    """Draw the way through the samples of some seeds; at a seed the frame is what :meth:`.Sampler.run` draws for it.

    Args:
        denoiser: D, which states its ``sample_shape``; used where it is.
        seeds: at least two.
        frames: from one to the next, both included.
        sampler: how to draw, without noise; see :data:`.SamplerChoice`.
        labels: one for all, or one a seed, which are then mixed in between; see :func:`.labels_or_uniform`.
        any_class: take classes that the training data did not have.
        guide: the worse model of autoguidance.
        batch_size: samples in one call of the network.

    Raises:
        ValueError: the sampler adds noise, there are too few seeds or frames, or labels do not fit.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.DataPosterior(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    >>> way = ed.sampling.interpolate_seeds(denoiser, [0, 1, 2], frames=3, sampler="heun steps=karras:n=6")
    >>> len(way.x), way.nfe
    (5, 11)
    """
    denoiser = as_denoiser(denoiser)
    places = stops(len(seeds), frames)
    chosen = Sampler.chosen(sampler, denoiser)
    of_one_step = chosen.n == 1 and chosen.churn is None and chosen.restarts is None  # which goes to 0, without noise
    if not (chosen.deterministic or of_one_step):
        refuse_tuned(denoiser, "a smooth way in several steps", "take one step (--n 1), or the original")
        raise ValueError(f"{chosen.to_text()} adds noise, so frames would not follow each other smoothly")
    guided = chosen.guided(denoiser, guide)
    prepared = chosen.prepare(guided)
    asked = _rows_asked(labels, denoiser, len(seeds), any_class)
    noise = SeededNoise(seeds)
    latents, _ = path(noise.latents(denoiser.sample_shape), frames)
    rows = labels_for(denoiser, noise, asked, any_class=True)
    mixture = mixed(rows.expand(len(seeds), *rows.shape[1:]), places) if isinstance(rows, Tensor) else None
    evaluations: list[int | Tensor] = []
    x = prepared.sample(
        guided,
        latents.to(denoiser.device),
        labels=_on(denoiser, mixture),
        batch_size=batch_size,
        callback=lambda step: evaluations.append(step.nfe),
        names=[f"frame {k}, {'after' if w else 'at'} seed {seeds[key]}," for k, (key, w) in enumerate(places)],
    )
    return Interpolation(x.cpu(), places, mixture, chosen, prepared.sigmas, evaluations[-1])


def interpolate_samples(
    denoiser: DenoiserLike,
    x: Tensor,
    frames: int = 9,
    *,
    sampler: SamplerChoice = None,
    labels: Asked = None,
    any_class: bool = False,
    batch_size: int = 16,
) -> Interpolation:
    """Draw the way through given samples: the ODE takes them to their latents, and frames between these back.

    Args:
        denoiser: D; used where it is.
        x: the samples (K, C, *spatial), in units of the noise levels, at least two.
        frames: from one to the next, both included.
        sampler: follows the ODE both ways; see :data:`.SamplerChoice` (RK45 with tolerances of 1e-5).
        labels: as for :func:`interpolate_seeds`; needed where the denoiser takes any.
        any_class: likewise.
        batch_size: samples in one call of the network.

    Raises:
        ValueError: the sampler does more than follow the ODE, or something does not fit.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 2), torch.eye(2)[None], torch.ones(1))
    >>> way = ed.sampling.interpolate_samples(denoiser, torch.tensor([[0.0, 1.0], [1.0, 0.0]]), frames=3)
    >>> float(way.round_trip.max()) < 1e-3, round(float(way.x[1, 0]), 2)  # sqrt(1 / 2)
    (True, 0.71)
    """
    denoiser = as_denoiser(denoiser)
    chosen = usual_both_ways(denoiser, TOLERANCE) if sampler is None else Sampler.chosen(sampler, denoiser)
    check_follows_ode(chosen)
    prepared = chosen.prepare(denoiser)
    places = stops(len(x), frames)
    asked = _rows_asked(labels, denoiser, len(x), any_class)
    if not isinstance(asked, Tensor) and denoiser.label_dim:
        raise ValueError("the model takes labels: give that of the pictures with --labels, one for all or one each")
    rows = asked.expand(len(x), *asked.shape[1:]) if isinstance(asked, Tensor) else None
    along: dict[str, Any] = {
        "sigmas": prepared.sigmas,
        "solver": prepared.solver,
        "schedule": prepared.schedule,
        "batch_size": batch_size,
    }
    x = x.to(denoiser.device, widest_type(denoiser.device))
    latents, nfe_encode = encode(denoiser, x, labels=_on(denoiser, rows), **along)
    between, _ = path(latents, frames)
    mixture = None if rows is None else mixed(rows, places)
    drawn, nfe = decode(denoiser, between, labels=_on(denoiser, mixture), **along)
    back = round_trip_error(x, drawn[:: frames - 1])
    return Interpolation(drawn.cpu(), places, mixture, chosen, prepared.sigmas, nfe, nfe_encode, back)


def _rows_asked(
    labels: Asked, denoiser: DenoiserModule, keys: int, any_class: bool
) -> Tensor | Literal["uniform"] | None:
    """The rows of labels, (1, label_dim) or (K, label_dim), or how seeds are to draw theirs."""
    asked = labels_or_uniform(labels, denoiser, any_class=any_class)
    if not isinstance(asked, Tensor):
        return asked
    rows = denoiser.known_labels.rows(asked)
    if len(rows) not in (1, keys):
        raise ValueError(f"--labels {labels} are {len(rows)} for {keys}: give one for all, or one each")
    return rows


def _on(denoiser: DenoiserModule, values: Tensor | None) -> Tensor | None:
    return None if values is None else values.to(denoiser.device)


def slerp(start: Tensor, end: Tensor, weight: float | Tensor) -> Tensor:
    """Spherical interpolation (Shoemake 1985): the direction turns evenly, the length changes linearly.

    With a the direction of ``start``, b that of ``end``, omega the angle between them, and q the unit vector
    orthogonal to a in the plane of both, the direction is

        cos(w omega) a + sin(w omega) q

    This form divides by nothing that becomes small but the length of q before it is made a unit vector, whose error
    sin(w omega) makes small again. So it is exact for parallel directions, and for opposite ones it goes half
    around the sphere (by a way that is arbitrary but always the same).

    Args:
        start: (B, C, *spatial), no sample of length 0.
        end: likewise.
        weight: 0 for ``start`` to 1 for ``end``: one number, or one a sample, (B,).

    Returns:
        (B, C, *spatial), in the wider type of the two.

    Raises:
        ValueError: shapes that differ, or a sample without a direction.

    >>> import elucidiff as ed
    >>> half = ed.sampling.slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
    >>> [round(float(value), 4) for value in half[0]]  # sqrt(1 / 2)
    [0.7071, 0.7071]
    """
    if start.shape != end.shape or start.ndim < 2:
        raise ValueError(f"cannot interpolate between shapes {tuple(start.shape)} and {tuple(end.shape)}")
    dtype = torch.promote_types(start.dtype, end.dtype)
    a, b = start.flatten(1).to(dtype), end.flatten(1).to(dtype)
    w = torch.as_tensor(weight, dtype=dtype, device=a.device).reshape(-1, 1)
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    for name, length in (("start", length_a), ("end", length_b)):
        if not bool(((length > 0) & length.isfinite()).all()):
            raise ValueError(f"a sample of {name} has no direction: it is zero or not finite")
    a, b = a / length_a, b / length_b
    along = (a * b).sum(1, keepdim=True)
    beside = b - along * a
    beside = beside - (beside * a).sum(1, keepdim=True) * a  # once more, for what cancellation left of a
    size = beside.norm(dim=1, keepdim=True)
    omega = torch.atan2(size, along)
    q = torch.where(size > 0, beside / size, _orthogonal(a))
    direction = torch.cos(w * omega) * a + torch.sin(w * omega) * q
    between: Tensor = ((1 - w) * length_a + w * length_b) * direction
    return between.reshape(start.shape)


def path(keys: Tensor, frames: int) -> tuple[Tensor, list[tuple[int, float]]]:
    """Latents on the way from each key to the next.

    Args:
        keys: (K, C, *spatial), at least two.
        frames: latents from one key to the next, both included.

    Returns:
        ((K - 1)(frames - 1) + 1, C, *spatial), each key once, exactly; and where each is: the key before it, and the
        weight of the next.

    Raises:
        ValueError: too few keys or frames, or a key without a direction.
    """
    places = stops(len(keys), frames)
    between = [keys[k : k + 1] if w == 0 else slerp(keys[k : k + 1], keys[k + 1 : k + 2], w) for k, w in places]
    return torch.cat(between), places


def stops(keys: int, frames: int) -> list[tuple[int, float]]:
    """The places of the frames on the way through so many keys: the key before each, and the weight of the next.

    Raises:
        ValueError: there are too few keys or frames.
    """
    if keys < 2:
        raise ValueError(f"there is nothing to interpolate between with {keys} of them: give at least two")
    if frames < 2:
        raise ValueError(f"frames is {frames}, but must be at least 2: both ends are frames")
    inner = [(k, frame / (frames - 1)) for k in range(keys - 1) for frame in range(frames - 1)]
    return [*inner, (keys - 1, 0.0)]


def mixed(rows: Tensor, places: Sequence[tuple[int, float]]) -> Tensor:
    """Labels on the same way: rows of the keys, (K, label_dim), mixed linearly, (frames, label_dim)."""
    return torch.stack([rows[k] if w == 0 else (1 - w) * rows[k] + w * rows[k + 1] for k, w in places])


def _orthogonal(a: Tensor) -> Tensor:
    """A unit vector orthogonal to each row of ``a``: the axis on which it is shortest, made orthogonal."""
    axis = torch.nn.functional.one_hot(a.abs().argmin(1), a.shape[1]).to(a.dtype)
    beside = axis - (axis * a).sum(1, keepdim=True) * a
    direction: Tensor = beside / beside.norm(dim=1, keepdim=True)
    return direction
