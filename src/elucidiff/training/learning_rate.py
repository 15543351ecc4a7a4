"""The learning rate as a function of where the training stands: a ramp, and the schedule that follows it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from elucidiff import parts
from elucidiff.parts import part


class LearningRateSchedule(ABC):
    """A schedule of the learning rate after the ramp; a part, see :mod:`elucidiff.parts`.

    >>> import elucidiff as ed
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Halving(ed.training.LearningRateSchedule):
    ...     images: float = 1000.0
    ...
    ...     def decay(self, rate, images_seen, progress):
    ...         return rate * 0.5 ** (images_seen // self.images)
    ...
    >>> ed.training.learning_rate(2500, peak=1e-3, decay=Halving())
    0.00025
    """

    begins_at_once: ClassVar[bool] = False
    """Whether, without a ramp, the first update has the full rate, not 0."""

    @abstractmethod
    def decay(self, rate: float, images_seen: int, progress: float) -> float:
        """The rate of an update.

        Args:
            rate: what the ramp gives, the peak once it is over.
            images_seen: training images before this update.
            progress: the share of the run that is done, in [0, 1].
        """


@part("learning rate schedule", "constant")
@dataclass(frozen=True)
class Constant(LearningRateSchedule):
    """No decay: the paper's (Karras et al. 2022, App. F)."""

    def decay(self, rate: float, images_seen: int, progress: float) -> float:
        """``rate``."""
        return rate


@part("learning rate schedule", "cosine")
@dataclass(frozen=True)
class Cosine(LearningRateSchedule):
    """Half a cosine down to 0 at the end of the run: ``(1 + cos(pi progress)) / 2``."""

    def decay(self, rate: float, images_seen: int, progress: float) -> float:
        """``rate (1 + cos(pi progress)) / 2``."""
        return rate * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


@part("learning rate schedule", "cooldown")
@dataclass(frozen=True)
class Cooldown(LearningRateSchedule):
    """Constant, then linear down to 0: ``min((1 - progress) / share, 1)`` (Hägele et al. 2024, arXiv 2405.18392).

    With a share of 1 it is linear all along (Defazio et al. 2023, arXiv 2310.07831).

    Args:
        share: share of the run over which it falls, in (0, 1].

    Raises:
        ValueError: it is no such share.
    """

    share: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}, but must be a share of the run in (0, 1]")

    def decay(self, rate: float, images_seen: int, progress: float) -> float:
        """``rate min((1 - progress) / share, 1)``."""
        return rate * min(max(1.0 - progress, 0.0) / self.share, 1.0)


@part("learning rate schedule", "inverse_sqrt")
@dataclass(frozen=True)
class InverseSqrt(LearningRateSchedule):
    """``1 / sqrt(max(images_seen / images, 1))``, as in EDM2 (Karras et al. 2024, arXiv 2312.02696).

    As there, the first update of a run has rate 0 only if there is a ramp.

    Args:
        images: training images after which it begins to fall; 0 for never.

    Raises:
        ValueError: they are negative.
    """

    begins_at_once: ClassVar[bool] = True

    images: float = 100e6

    def __post_init__(self) -> None:
        if not self.images >= 0:
            raise ValueError(f"images is {self.images}, but must not be negative")

    def decay(self, rate: float, images_seen: int, progress: float) -> float:
        """``rate / sqrt(max(images_seen / images, 1))``."""
        return rate / math.sqrt(max(images_seen / (self.images or math.inf), 1.0))


def learning_rate(
    images_seen: int,
    *,
    peak: float,
    ramp_images: float = 0.0,
    decay: LearningRateSchedule | str = "constant",
    progress: float = 0.0,
) -> float:
    """``peak * min(images_seen / ramp_images, 1)``, decayed.

    The ramp is the paper's (Karras et al. 2022, App. F). ``images_seen`` counts the images before the update, so the
    first update of a run has learning rate 0, even without a ramp, as in the reference; unless the schedule
    :attr:`~LearningRateSchedule.begins_at_once`.

    Args:
        images_seen: training images before this update.
        peak: the highest learning rate.
        ramp_images: length of the linear ramp from 0, in images; 0 for none.
        decay: the schedule, or its name or text form.
        progress: the share of the run that is done, in [0, 1].

    >>> import elucidiff as ed
    >>> ed.training.learning_rate(5000, peak=1e-3, ramp_images=10_000)
    0.0005
    """
    schedule: LearningRateSchedule = parts.resolve("learning rate schedule", decay)
    at_once = schedule.begins_at_once and ramp_images <= 0
    ramp = 1.0 if at_once else min(images_seen / max(ramp_images, 1e-8), 1.0)
    return schedule.decay(peak * ramp, images_seen, progress)
