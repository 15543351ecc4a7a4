"""A training that is looked at: its loss, and what the model drew on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elucidiff.web import plots
from elucidiff.web.pictures import file_url

METRICS = "metrics.jsonl"
_PREVIEWS = 12


@dataclass(frozen=True)
class Preview:
    """Samples of the averaged model, from the same seeds every time.

    Attributes:
        images: training images seen by then.
        url: the sheet, within the page.
    """

    images: int
    url: str


@dataclass(frozen=True)
class Run:
    """A run folder.

    Args:
        folder: where it is.
    """

    folder: Path

    def loss(self) -> str:
        """The course of the training as ``<svg>``.

        Raises:
            ValueError: it has written no loss yet.
            OSError: it cannot be read.
        """
        # Imported where it is used: what figures of a training are made of takes a second.
        from elucidiff.figures import training_curves
        from elucidiff.figures.report.of_runs import metric_lines

        figure = training_curves.draw(metric_lines(self.folder / METRICS))
        return plots.svg(figure, "Loss against the number of training images seen")

    def previews(self) -> list[Preview]:
        """Some of its previews, the first and the last among them."""
        sheets = sorted(path for path in (self.folder / "samples").glob("*.png") if path.stem.isdigit())
        last = len(sheets) - 1
        places = sorted({round(k * last / (_PREVIEWS - 1)) for k in range(_PREVIEWS)}) if sheets else []
        return [
            Preview(int(sheets[place].stem), file_url("image/png", sheets[place].read_bytes())) for place in places
        ]


def found(named: str) -> tuple[str, Run | None]:
    """The model that somebody named by its folder or by that of its run, and the run if there is one.

    Args:
        named: as on the command line.
    """
    path = Path(named).expanduser()
    if (path / METRICS).is_file() and (path / "model" / "model.json").is_file():
        return str(path / "model"), Run(path)
    if (path.parent / METRICS).is_file() and (path / "model.json").is_file():
        return named, Run(path.parent)
    return named, None
