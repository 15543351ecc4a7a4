"""What a figure is that is measured before it is drawn: a part, so that a new one is one file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Protocol, Self

from matplotlib.figure import Figure
from tyro.conf import Positional

from elucidiff import parts
from elucidiff.figures.numbers import Numbers
from elucidiff.suggest import suggestion


class Bar(Protocol):
    """How far work has come, as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def reach(self, done: float) -> None:
        """So much is done."""


class ProgressBar(Protocol):
    """Makes a bar: what is done, how many units there are, and their name."""

    def __call__(self, what: str, total: float, unit: str, /) -> Bar: ...


class Silent:
    """A bar that shows nothing."""

    def __init__(self, what: str, total: float, unit: str, /) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def reach(self, done: float) -> None:
        """See :class:`Bar`."""


@dataclass(frozen=True)
class MeasuredFigure(ABC):
    """A figure: its fields are what it is measured with, and flags of ``elucidiff figure``.

    :meth:`measure` leaves all that :meth:`redraw` needs in :class:`.Numbers`, which are kept beside the picture.
    """

    summary: ClassVar[str] = ""
    """What it shows, in a few words."""
    title: ClassVar[str] = ""
    """Its title in a report."""
    alternative: ClassVar[str] = ""
    """A description for those who cannot see it."""

    @abstractmethod
    def measure(self, command: str, progress: ProgressBar = Silent) -> Numbers:
        """Do the work.

        Args:
            command: to be kept with the numbers.
            progress: shows how far it has come, if it takes long.
        """

    @classmethod
    @abstractmethod
    def redraw(cls, kept: Numbers) -> Figure:
        """The picture of what :meth:`measure` left; KeyError and the like if something is missing."""

    @classmethod
    def explain(cls, kept: Numbers) -> str:
        """What is to be seen, for a report."""
        return cls.summary


@dataclass(frozen=True)
class OfModel(MeasuredFigure):
    """A figure of a model and its data."""

    model: Positional[Path]
    """A model folder."""
    data: Positional[str | None] = None
    """Name or path of a data set. Left out: what the model was trained on."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    batch_size: int = 16
    """Images in one call of the network."""


def figures() -> dict[str, type[MeasuredFigure]]:
    """All figures that are measured, plugins' included, by the name that the command line has for them."""
    return {name.replace("_", "-"): cls for name, cls in parts.parts_of("figure").items()}


def figure_of(kept: Numbers) -> type[MeasuredFigure]:
    """The figure that these are the numbers of.

    Raises:
        ValueError: it is unknown.
    """
    known = figures()
    if kept.figure not in known:
        raise ValueError(
            f"the numbers are of a figure {kept.figure!r}; {suggestion(kept.figure, known)} "
            "(one of your own needs its module: --plugin MODULE)"
        )
    return known[kept.figure]


def redraw(kept: Numbers) -> Figure:
    """The figure that these are the numbers of.

    Raises:
        ValueError: it is unknown, or numbers are missing or damaged.
    """
    figure = figure_of(kept)
    try:
        return figure.redraw(kept)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"numbers of the figure {kept.figure} are missing or damaged: {error}") from None
