"""What training asks of an augmentation: drawing is separate from applying, and the network is told what was done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Augmentation(ABC):
    """Random changes of training images, with labels that tell the network what was done (non-leaking).

    A subclass is a frozen dataclass of settings, registered with ``@ed.part("augmentation", NAME)``.

    >>> import elucidiff as ed
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Negative(ed.augment.Augmentation):
    ...     label_dim = 1
    ...
    ...     def draw(self, n, generator, device=None):
    ...         return {"negative": torch.rand(n, generator=generator).round()}
    ...
    ...     def apply(self, images, params):
    ...         negative = params["negative"]
    ...         return images * (1 - 2 * negative).reshape(-1, 1, 1, 1), negative[:, None]
    ...
    >>> images, labels = Negative().apply(torch.ones(2, 1, 1, 1), {"negative": torch.tensor([0.0, 1.0])})
    >>> images.flatten().tolist(), labels.tolist()
    ([1.0, -1.0], [[0.0], [1.0]])
    """

    @property
    @abstractmethod
    def label_dim(self) -> int:
        """The number of label columns: the ``augment_dim`` that a network needs."""

    @property
    def off(self) -> bool:
        """Whether it leaves every image as it is, so that a training does without."""
        return False

    def check(self, shape: Sequence[int]) -> None:  # noqa: B027 (it need not refuse any)
        """Refuse images that this augmentation cannot treat, before any work starts; takes all if not overridden.

        Args:
            shape: ``(C, *spatial)`` of one image.

        Raises:
            ValueError: it cannot treat them.
        """

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator, device: torch.device | str | None = None) -> dict[str, Tensor]:
        """Draw the parameters of ``n`` images.

        Args:
            n: number of images.
            generator: where every draw comes from.
            device: where to put the result; default: where the generator is.

        Returns:
            Parameters by name, ``(n,)`` or ``(rows, n)``: images come last.
        """

    @abstractmethod
    def apply(self, images: Tensor, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Transform a batch, each image by its own parameters.

        Args:
            images: ``(n, C, *spatial)`` in units of the noise levels.
            params: from :meth:`draw`.

        Returns:
            the new images, and their labels ``(n, label_dim)``; rows of zeros mean that nothing was done.
        """
