"""What somebody asks the explorer for, what may be asked for, and what is wrong with it, field by field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from elucidiff.sampling.sampler import Sampler


@dataclass(frozen=True)
class Mistake:
    """Something that is wrong with what was asked for.

    Attributes:
        field: where: ``seeds``, ``labels``, ``picture``, a choice such as ``solver``, or a setting, ``solver.order``.
        text: one line that says what, and what to do.
    """

    field: str
    text: str


class MistakesError(ValueError):
    """What was asked for cannot be done; nothing was begun.

    Args:
        mistakes: at least one.
    """

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("; ".join(f"{each.field}: {each.text}" for each in mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True)
class Limits:
    """The most that one request may cost.

    Args:
        images: samples.
        steps: noise levels above 0.
        nfe: network evaluations of each sample.
        evaluations: of all samples together.
        kept: values of the samples' ways that are kept to be looked at; longer ways are kept in fewer places.
    """

    images: int = 64
    steps: int = 512
    nfe: int = 2048
    evaluations: int = 32_768
    kept: int = 1 << 23


@dataclass(frozen=True)
class Begin:
    """Begin at a picture instead of at pure noise: :class:`.Edit`, ``elucidiff sample --init``.

    Args:
        picture: ``(C, *spatial)``, as a data set holds it.
        strength: share of the steps that are taken.
    """

    picture: Tensor
    strength: float = 0.5


@dataclass(frozen=True)
class Repaint:
    """Paint a part of a picture anew: :func:`.restore`, ``elucidiff restore --mask``.

    Args:
        picture: ``(C, *spatial)``, as a data set holds it.
        mask: booleans ``(*spatial)``, true where something is to be painted.
        noise: standard deviation of the noise of what is known.
    """

    picture: Tensor
    mask: Tensor
    noise: float = 0.01


@dataclass(frozen=True)
class Request:
    """Samples that somebody wants to see.

    Args:
        sampler: all choices of sampling.
        seeds: one sample each, as on the command line: ``0-15,40``.
        labels: classes or a vector, likewise, taken in turn; empty: each seed draws its own.
        source: a picture to begin at, or to paint a part of; None for pure noise.
    """

    sampler: Sampler
    seeds: str = "0-15"
    labels: str = ""
    source: Begin | Repaint | None = None
