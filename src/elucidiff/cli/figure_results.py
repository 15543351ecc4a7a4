"""Figures from tables of results: ``elucidiff figure quality-against-nfe|churn-heat-map|ablation-bars``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from matplotlib.figure import Figure

from elucidiff.evaluation.results import Row, read_results
from elucidiff.figures import ablation_bars, churn_heat_map, quality_against_nfe
from elucidiff.suggest import names_in, suggestion


@dataclass(frozen=True)
class OfResults:
    table: tyro.conf.Positional[Path]
    """A folder with results.csv, as `elucidiff curve`, `ablate` and `search` write it; or the file itself, .csv or
    .parquet."""
    metric: str | None = None
    """Which figure to draw, such as fid or truncation_error; the first in the table by default."""
    only: str | None = None
    """Some of the configurations, by name, with semicolons between them."""

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
class QualityAgainstNfe(OfResults):
    """Quality against network evaluations, deterministic and stochastic samplers apart (Karras et al. 2022, Figs. 2
    and 4)."""

    out: Path = Path("quality-against-nfe.png")
    """File to write; an SVG goes beside it."""

    def draw(self) -> Figure:
        """Read and draw."""
        return quality_against_nfe.draw(self.rows(), self.metric)


@dataclass(frozen=True)
class ChurnHeatMap(OfResults):
    """The best figure for each pair of settings of churn, as a search or a grid found them."""

    axes: str | None = None
    """Two columns, with a comma between them, such as churn,churn_sigma_min; all pairs with S_churn by default."""
    out: Path = Path("churn-heat-map.png")
    """File to write; an SVG goes beside it."""

    def draw(self) -> Figure:
        """Read and draw."""
        pair = None
        if self.axes is not None:
            names = names_in(self.axes)
            if len(names) != 2:
                raise ValueError(
                    f"--axes {self.axes} names {len(names)} columns: name two, with a comma between them"
                )
            pair = (names[0], names[1])
        return churn_heat_map.draw(self.rows(), self.metric, pair)


@dataclass(frozen=True)
class AblationBars(OfResults):
    """The configurations of an ablation as bars, with their spread; the best is marked."""

    out: Path = Path("ablation-bars.png")
    """File to write; an SVG goes beside it."""

    def draw(self) -> Figure:
        """Read and draw."""
        return ablation_bars.draw(self.rows(), self.metric)
