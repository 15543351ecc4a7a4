"""The base of training objectives: p_train(sigma), weight and loss (Karras et al. 2022, Eq. 8)."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from elucidiff.design.training_noise import TrainingNoise
from elucidiff.design.values import Value, as_tensor, per_sample

Ask = Callable[[Tensor, Tensor], Tensor]
"""D(x; sigma) for noisy samples and levels (B,)."""


class Objective(ABC):
    """E over sigma ~ p_train, y ~ data, n ~ N(0, sigma^2 I) of lambda(sigma) |D(y + n; sigma) - y|^2.

    >>> import elucidiff as ed
    >>> images = torch.zeros(2, 1, 4, 4)
    >>> loss = ed.objectives.EDM().loss(lambda x, sigma, labels=None: images, images)
    >>> loss.shape, float(loss.sum())
    (torch.Size([2, 1, 4, 4]), 0.0)
    """

    @property
    @abstractmethod
    def noise(self) -> TrainingNoise:
        """p_train(sigma)."""

    def weight(self, sigma: Value) -> Tensor:
        """lambda(sigma) = 1 / sigma^2, unless stated otherwise; shaped like ``sigma``."""
        return 1 / as_tensor(sigma).square()

    @property
    def has_ode(self) -> bool:
        """True if it trains D to be E[y | x], on which the probability-flow ODE rests (Karras et al. 2022, Eq. 3)."""
        return True

    def at(self, progress: float) -> Objective:
        """The objective at a moment of a training, if it changes in its course: itself, unless stated otherwise.

        Args:
            progress: the share of the training that is done, in [0, 1]. An objective that nobody tells is at its end.
        """
        return self

    def errors(self, ask: Ask, images: Tensor, sigma: Tensor, noise: Tensor, present: Tensor | None = None) -> Tensor:
        """The loss of every element, for arguments that :meth:`loss` has checked: what an objective may change.

        Args:
            ask: D(x; sigma) for ``x`` shaped like ``images`` and levels (B,), labels included.
            images: clean samples y.
            sigma: noise levels (B,).
            noise: unit Gaussian noise, shaped like ``images``.
            present: see :meth:`loss`.
        """
        spread = per_sample(sigma, images)
        return self.weight(spread) * (ask(images + noise * spread, sigma) - images).square()

    def loss(
        self,
        denoiser: Callable[..., Tensor],
        images: Tensor,
        sigma: Value | None = None,
        noise: Tensor | None = None,
        labels: Tensor | Mapping[str, Tensor] | None = None,
        augment_labels: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """The loss of every element: lambda(sigma) (D(y + sigma noise; sigma) - y)^2, unless stated otherwise.

        Args:
            denoiser: D, called as ``denoiser(x, sigma, labels=..., augment_labels=...)`` with sigma (B,);
                ``augment_labels`` is passed only if there are any.
            images: clean samples y (B, C, *spatial).
            sigma: noise levels, () or one a sample: (B,), (B, 1, 1, 1) and the like; None draws one a sample from
                :attr:`noise`, first.
            noise: unit Gaussian noise, shaped like ``images``; None draws it.
            labels: class labels, or named conditions, passed on.
            augment_labels: augmentation labels, passed on.
            generator: source of what is drawn, on the device of ``images``; None is PyTorch's own.
            present: true where a value of ``images`` is known, shaped like them: the loss of the others is 0, and
                they have no part in that of the known ones. None for all.

        Returns:
            The loss, shaped like ``images`` and not reduced.

        Raises:
            ValueError: the images are not floating point, or the noise or sigma does not fit them.
        """
        if not images.is_floating_point():
            raise ValueError(f"images have type {images.dtype}: scale them to floating point, for example in [-1, 1]")
        if sigma is None:
            sigma = self.noise.sample((len(images),), generator, images.device)
        if noise is None:
            noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
        if noise.shape != images.shape:
            raise ValueError(f"noise has shape {tuple(noise.shape)}, but the images {tuple(images.shape)}")
        levels = as_tensor(sigma).to(images)
        if levels.numel() not in (1, len(images)):
            raise ValueError(f"sigma has {levels.numel()} values for {len(images)} images: give one, or one an image")
        levels = levels.reshape(-1).expand(len(images))
        keywords = {} if augment_labels is None else {"augment_labels": augment_labels}
        ask = functools.partial(_asked, denoiser, {"labels": labels, **keywords})
        found = self.errors(ask, images, levels, noise, present)
        return found if present is None else found * present


def _asked(denoiser: Callable[..., Tensor], keywords: Mapping[str, Any], x: Tensor, sigma: Tensor) -> Tensor:
    return denoiser(x, sigma, **keywords)
