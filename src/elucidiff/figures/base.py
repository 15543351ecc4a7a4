"""Figures as parts, so that a new one is one file: measured and drawn, or drawn from a table of results.

What was measured is kept as numbers, so that it can be drawn again without the model.
"""

from __future__ import annotations

import io
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from tyro.conf import Positional

from elucidiff import parts
from elucidiff.data.npy import read_arrays
from elucidiff.evaluation.ablation.cells import LOSS, TRUNCATION
from elucidiff.evaluation.ablation.tables import Estimate
from elucidiff.evaluation.quality.metric_sets import is_metric, title_for
from elucidiff.evaluation.results import Row, read_results
from elucidiff.files import write_whole
from elucidiff.launch.interrupt import Bar, Watch
from elucidiff.suggest import suggestion
from elucidiff.untrusted import parse_json, reading

_ABOUT = "about"


@dataclass(frozen=True)
class Numbers:
    """The numbers that a figure is drawn from.

    Attributes:
        figure: its name for ``elucidiff figure``.
        command: that made it.
        facts: what else its text and labels say; JSON-able.
        arrays: by name.

    >>> import tempfile
    >>> numbers = Numbers("squares", "by hand", {"unit": "cm"}, {"x": np.arange(3) ** 2})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     read = read_numbers(numbers.save(f"{folder}/squares.npz"))
    ...
    >>> read.facts, read.arrays["x"].tolist()
    ({'unit': 'cm'}, [0, 1, 4])
    """

    figure: str
    command: str
    facts: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``path``, a compressed ``.npz`` file, whole.

        Raises:
            OSError: it cannot be written.
        """
        about = json.dumps({"figure": self.figure, "command": self.command, "facts": dict(self.facts)})
        file = io.BytesIO()
        arrays: dict[str, Any] = {_ABOUT: np.array(about), **self.arrays}
        np.savez_compressed(file, **arrays)
        return write_whole(path, file.getvalue())


def read_numbers(path: Path) -> Numbers:
    """Read what :meth:`Numbers.save` wrote. Nothing in the file is executed.

    Raises:
        ValueError: it is something else, or damaged.
        OSError: it cannot be read.

    >>> read_numbers(Path("nothing.npz"))
    Traceback (most recent call last):
        ...
    FileNotFoundError: ...
    """
    with reading(path, "holds no numbers of a figure: name a .npz file that `elucidiff figure` wrote"):
        arrays = read_arrays(path)
        about = parse_json(str(arrays.pop(_ABOUT)), path)
        return Numbers(str(about["figure"]), str(about["command"]), dict(about["facts"]), arrays)


_TITLES = {TRUNCATION: "distance to the exact solution\n(RMS, units of the data)", LOSS: "loss on held-out images"}


@dataclass(frozen=True)
class Point:
    """One configuration at one budget.

    Attributes:
        configuration: its name.
        nfe: network evaluations per sample, counted; the mean over seeds.
        values: by seed.
        row: one of the rows, for what they have in common.
    """

    configuration: str
    nfe: float
    values: Mapping[int, float]
    row: Row

    @property
    def estimate(self) -> Estimate:
        """Mean and standard error over the seeds."""
        return Estimate.of(list(self.values.values()))


def metric_of(rows: Sequence[Row], metric: str | None = None) -> str:
    """The metric to draw: the one asked for, or the first there is.

    Raises:
        ValueError: there are no rows, or none of it.
    """
    known = list(dict.fromkeys(row.metric for row in rows))
    if not known:
        raise ValueError("there are no rows to draw: measure something first")
    if metric is None:
        return known[0]
    if metric not in known:
        raise ValueError(f"nothing was measured of {metric!r}; {suggestion(metric, known)}")
    return metric


def points(rows: Sequence[Row], metric: str) -> list[Point]:
    """The rows of a metric by configuration and budget, in their order; seeds are paired with their values.

    Raises:
        ValueError: the rows have different references or extractors, so their values cannot be compared.
    """
    chosen = [row for row in rows if row.metric == metric]
    for name in ("extractor", "reference") if is_metric(metric) else ():
        if len(found := sorted({getattr(row, name) for row in chosen})) > 1:
            raise ValueError(f"{metric} was measured with {name} {found[0]} and {found[1]}: draw one table at a time")
    groups: dict[tuple[str, int | None], list[Row]] = {}
    for row in chosen:
        groups.setdefault((row.configuration, row.budget), []).append(row)
    return [
        Point(
            configuration,
            sum(row.nfe or row.budget or 0 for row in group) / len(group),
            {place if row.seed is None else row.seed: row.value for place, row in enumerate(group)},
            group[0],
        )
        for (configuration, _), group in groups.items()
    ]


def metric_title(metric: str, extractor: str) -> str:
    """The title of a metric on an axis: by the extractor too, unless its name tells that.

    Args:
        metric: as in a table of results.
        extractor: likewise, with its checksum.
    """
    if not is_metric(metric):
        return _TITLES.get(metric, metric.replace("_", " "))
    name = re.sub(r"-[0-9a-f]{8}$", "", extractor)
    title = title_for(metric, name)
    return title if name in title or "Frechet distance" not in title else f"{title} ({name})"


ProgressBar = Callable[[str, float, str], AbstractContextManager[Bar]]
"""Opens a bar as :meth:`.Watch.bar` does: what is done, how many units there are, and their name."""

SILENT: ProgressBar = Watch().bar


@dataclass(frozen=True)
class FigurePart(ABC):
    """A figure: its fields are flags of ``elucidiff figure``, which adds where to write it.

    Those that are measured first are a :class:`MeasuredFigure`, those of a table of results a :class:`ResultsFigure`;
    the others overwrite :meth:`draw`.

    >>> import elucidiff as ed
    >>> ed.parts.find("figure", "steps")(n=4).draw().axes[0].get_yscale()
    'log'
    """

    summary: ClassVar[str] = ""
    """Its contents, in a few words."""
    title: ClassVar[str] = ""
    """Its title in a report."""
    alternative: ClassVar[str] = ""
    """A description for those who cannot see it."""

    @abstractmethod
    def draw(self) -> Figure:
        """Do the work, and draw.

        Raises:
            ValueError: a setting is out of range, or there is nothing to draw.
            OSError: a file cannot be read.
        """


@dataclass(frozen=True)
class MeasuredFigure(FigurePart):
    """A figure whose numbers are measured first, and kept beside the picture, so that it can be drawn again.

    :meth:`measure` leaves all that :meth:`redraw` needs in :class:`.Numbers`.

    >>> import elucidiff as ed
    >>> figure = ed.parts.find("figure", "curvature")(means=(0.0,), std=0.5)
    >>> numbers = figure.measure("from Python")
    >>> sorted(numbers.facts["turning"])
    ['EDM', 'VE', 'VP']
    """

    @abstractmethod
    def measure(self, command: str, progress: ProgressBar = SILENT) -> Numbers:
        """Do the work.

        Args:
            command: to be kept with the numbers.
            progress: shows how far it has come, if it takes long.
        """

    @classmethod
    @abstractmethod
    def redraw(cls, kept: Numbers) -> Figure:
        """The picture of what :meth:`measure` left; KeyError and the like if something is missing."""

    def draw(self) -> Figure:
        """Measure and draw."""
        return type(self).redraw(self.measure(""))

    @classmethod
    def explain(cls, kept: Numbers) -> str:
        """A paragraph on what is to be seen, for a report."""
        return cls.summary


@dataclass(frozen=True)
class ResultsFigure(FigurePart):
    """A figure of a table of results, as ``elucidiff curve``, ``ablate`` and ``search`` write them.

    >>> import elucidiff as ed
    >>> ed.parts.find("figure", "quality_against_nfe").experiments
    ('curve',)
    """

    experiments: ClassVar[tuple[str, ...]] = ()
    """The experiments whose tables a report shows with it."""
    explanation: ClassVar[str] = ""
    """A sentence on what is to be seen, for a report."""

    table: Positional[Path]
    """A folder with results.csv, as `elucidiff curve`, `ablate` and `search` write it; or the file itself, .csv or
    .parquet."""
    metric: str | None = None
    """A metric, such as fid or truncation_error; the first in the table by default."""
    only: str | None = None
    """Some of the configurations, by name, with semicolons between them."""

    @abstractmethod
    def picture(self, rows: Sequence[Row]) -> Figure:
        """The figure of these rows.

        Raises:
            ValueError: there is nothing in them to draw, or they cannot be compared.
        """

    def draw(self) -> Figure:
        """Read and draw."""
        return self.picture(self.rows())

    def rows(self) -> list[Row]:
        """The rows that were asked for."""
        found = read_results(self.table)
        if self.only is None:
            return found
        known = list(dict.fromkeys(row.configuration for row in found))
        names = [name.strip() for name in self.only.split(";") if name.strip()]
        for name in names:
            if name not in known:
                raise ValueError(f"--only: there is no configuration {name!r}; {suggestion(name, known)}")
        return [row for row in found if row.configuration in names]


@dataclass(frozen=True)
class OfModel(MeasuredFigure):
    """A figure of a model and its data."""

    model: Positional[Path]
    """A model folder, a model of another library, or your own code that makes one, package.module:function."""
    data: Positional[str | None] = None
    """Name or path of a data set. Left out: what the model was trained on."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    batch_size: int = 16
    """Images in one call of the network."""


def figures() -> dict[str, type[FigurePart]]:
    """All figures, plugins' included, by the name that the command line has for them."""
    return {name.replace("_", "-"): cls for name, cls in parts.parts_of("figure").items()}


def figure_for(experiment: str) -> tuple[str, type[ResultsFigure]]:
    """The figure with which a report shows the results of an experiment, and its name; bars if none asks for it."""
    known = {name: cls for name, cls in figures().items() if issubclass(cls, ResultsFigure)}
    return next(
        ((name, cls) for name, cls in known.items() if experiment in cls.experiments),
        ("ablation-bars", known["ablation-bars"]),
    )


def figure_of(kept: Numbers) -> type[MeasuredFigure]:
    """The figure that these are the numbers of.

    Raises:
        ValueError: it is unknown.
    """
    known = {name: cls for name, cls in figures().items() if issubclass(cls, MeasuredFigure)}
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

    >>> import elucidiff as ed
    >>> numbers = ed.parts.find("figure", "curvature")().measure("from Python")
    >>> len(ed.figures.redraw(numbers).axes)  # two windows for each of VP, VE and EDM
    6
    """
    figure = figure_of(kept)
    try:
        return figure.redraw(kept)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"numbers of the figure {kept.figure} are missing or damaged: {error}") from None
