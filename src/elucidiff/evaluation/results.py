"""The table of results: a row is one value for one configuration, budget and block of seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from elucidiff import parts
from elucidiff.denoisers.base import DenoiserLike
from elucidiff.files import write_whole
from elucidiff.sampling.sampler import Sampler
from elucidiff.suggest import suggestion

CSV, PARQUET = "results.csv", "results.parquet"


@dataclass(frozen=True)
class Row:
    """One value. What does not apply is empty: the empty string, or None for numbers.

    Attributes:
        experiment: what it was measured for: curve, sampling, churn, alpha, training, augment or search.
        configuration: what it is called in tables and legends, such as ``heun, karras rho 7``. Of a search,
            ``trial 12``; and, on fresh seeds, ``before`` and the name of what it found.
        solver: by its name, and so the schedule that it follows and how its noise levels are spaced (``steps``).
        rho: exponent of karras steps.
        sigma_min: lowest noise level before 0, in units of the data.
        sigma_max: highest noise level, likewise.
        churn: S_churn; and so S_tmin, S_tmax and S_noise: ``churn_sigma_min``, ``churn_sigma_max``, ``noise_scale``.
        alpha: where the second evaluation of a second-order method lies.
        guidance: the weight of guidance; 1 is none.
        budget: network evaluations per sample that were asked for.
        nfe: network evaluations per sample, counted.
        seeds: of the images, such as ``0-4999``.
        seed: number of the block of image seeds, or the seed of the training, by which rows are paired.
        images: how many images the value rests on.
        metric: fid, kid, precision, recall, is, truncation_error, held_out_loss, ...
        value: of the metric.
        lower_is_better: or higher.
        model: whose samples they are, by name and checksum.
        reference: what they are compared with, likewise.
        extractor: what describes them, likewise.
        seconds: what the measurement took, all of its metrics together.
    """

    experiment: str
    configuration: str
    solver: str = ""
    schedule: str = ""
    steps: str = ""
    rho: float | None = None
    sigma_min: float | None = None
    sigma_max: float | None = None
    churn: float | None = None
    churn_sigma_min: float | None = None
    churn_sigma_max: float | None = None
    noise_scale: float | None = None
    alpha: float | None = None
    guidance: float | None = None
    budget: int | None = None
    nfe: float | None = None
    seeds: str = ""
    seed: int | None = None
    images: int | None = None
    metric: str = ""
    value: float = float("nan")
    lower_is_better: bool = True
    model: str = ""
    reference: str = ""
    extractor: str = ""
    seconds: float | None = None

    @property
    def place(self) -> tuple[str, str, int | None, int | None, str]:
        """The key that distinguishes it from the other rows of its table."""
        return self.experiment, self.configuration, self.budget, self.seed, self.metric


COLUMNS = tuple(column.name for column in fields(Row))
_REQUIRED = ("experiment", "configuration", "metric", "value")


class ResultsTable:
    """The rows in a folder, as ``results.csv``, which is read back, and the same as ``results.parquet``.

    Args:
        folder: where the files are, or will be.

    Raises:
        ValueError: the file there is no table of results.
        OSError: it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / CSV
        self._rows = {row.place: row for row in read_results(path)} if path.exists() else {}

    def __contains__(self, place: object) -> bool:
        """True if there is a row at this :attr:`Row.place`."""
        return place in self._rows

    @property
    def rows(self) -> list[Row]:
        """All rows, in the order in which they came."""
        return list(self._rows.values())

    def add(self, rows: Iterable[Row]) -> None:
        """Keep rows, in place of those at the same :attr:`Row.place`; both files are written whole.

        Raises:
            OSError: a file cannot be written; the rows of before are still there.
        """
        together = self._rows | {row.place: row for row in rows}
        write_results(self.folder, list(together.values()))
        self._rows = together

    def find(self, **columns: Any) -> list[Row]:
        """The rows whose columns have these values.

        Raises:
            ValueError: there is no such column; the nearest is suggested.
        """
        for name in columns:
            if name not in COLUMNS:
                raise ValueError(f"there is no column {name!r} in a table of results; {suggestion(name, COLUMNS)}")
        return [row for row in self.rows if all(getattr(row, name) == value for name, value in columns.items())]


def write_results(folder: Path, rows: Sequence[Row]) -> None:
    """Write these rows and no others as ``results.csv`` and ``results.parquet``, each of them whole.

    Raises:
        OSError: a file cannot be written; what was there before is still there.
    """
    # Rows count from when the CSV file has them: killed in between, they are measured again, and in both files.
    write_whole(folder / PARQUET, lambda path: _to_parquet(rows, path))
    write_whole(folder / CSV, _to_csv(rows))


def read_results(path: Path) -> list[Row]:
    """The rows of a table of results.

    Args:
        path: a folder with ``results.csv``; or a file ``*.csv`` or ``*.parquet``.

    Raises:
        ValueError: it is no table of results: columns are unknown or missing, or a value is of the wrong type.
        OSError: it cannot be read.
    """
    file = path / CSV if path.is_dir() else path
    if file.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{file} is no table of results: name a folder with {CSV}, or a file .csv or .parquet")
    try:
        lines = _lines_of_parquet(file) if file.suffix == ".parquet" else _lines_of_csv(file)
        return [_row(line) for line in lines]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{file} is no table of results: {' '.join(str(error).split())}") from None


def _to_csv(rows: Sequence[Row]) -> str:
    return "".join(_line(values) for values in [COLUMNS, *([_text(value) for value in astuple(row)] for row in rows)])


def _line(values: Sequence[str]) -> str:
    """A line of CSV."""
    file = io.StringIO()
    # Only what ends a line is put in quotes, and a reader takes a lone carriage return for such an end.
    csv.writer(file, lineterminator="\r\n").writerow(values)
    return file.getvalue().removesuffix("\r\n") + "\n"


def _text(value: str | float | bool | None) -> str:
    """A value such that it can be read back exactly."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _to_parquet(rows: Sequence[Row], path: Path) -> None:
    arrays = [pa.array([getattr(row, name) for row in rows], type_) for name, type_ in _arrow_types().items()]
    parquet.write_table(pa.table(arrays, names=list(COLUMNS)), path)


def _arrow_types() -> dict[str, pa.DataType]:
    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return {name: types[kind] for name, kind in _kinds().items()}


@cache
def _kinds() -> dict[str, str]:
    """The type of each column, by name."""
    return {column.name: str(column.type).removesuffix(" | None") for column in fields(Row)}


def _lines_of_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True)) if path.stat().st_size else [[]]
    header, *lines = rows
    _check_header(header)
    for number, line in enumerate(lines, 2):
        if len(line) != len(header):
            raise ValueError(f"line {number} has {len(line)} values instead of {len(header)}")
    return [dict(zip(header, line, strict=True)) for line in lines]


def _lines_of_parquet(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        table = parquet.read_table(file)
    _check_header(table.column_names)
    return [dict(line) for line in table.to_pylist()]


def _check_header(names: list[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            raise ValueError(f"the column {name!r} is unknown; {suggestion(name, COLUMNS)}")
    for name in _REQUIRED:
        if name not in names:
            raise ValueError(f"the column {name!r} is missing")


def _row(line: Mapping[str, Any]) -> Row:
    return Row(**{name: _value(name, value) for name, value in line.items()})


def _value(name: str, value: Any) -> Any:
    """A value of a column, of its type, from text or from what Parquet gives."""
    text = "" if value is None else str(value)
    if not text:
        return _empty(name)
    try:
        return _PARSERS[_kinds()[name]](text)
    except (ValueError, KeyError, OverflowError):
        raise ValueError(f"{name} is {text!r} in one of its rows") from None


def _empty(name: str) -> Any:
    if name in _REQUIRED:
        raise ValueError(f"{name} is empty in one of its rows")
    return next(column.default for column in fields(Row) if column.name == name)


def _whole(text: str) -> int:
    """An integer, also one that a spreadsheet wrote with a point."""
    value = float(text)
    if not value.is_integer():
        raise ValueError
    return int(value)


_PARSERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": _whole,
    "float": float,
    "bool": lambda text: {"true": True, "false": False}[text.strip().lower()],
}


def sampler_columns(sampler: Sampler, denoiser: DenoiserLike | None) -> dict[str, Any]:
    """The columns of a :class:`.Row` that a sampler settles; those without effect beside the others are left out.

    Args:
        sampler: all sampling choices.
        denoiser: D, guided already, whose range is respected; None for one without a range.

    Raises:
        ValueError: the denoiser supports none of the noise levels.
    """
    sigmas = sampler.sigmas(denoiser)
    churn, restarts = sampler.churn, sampler.restarts
    columns = {
        "solver": parts.to_text(sampler.solver),
        "schedule": parts.to_text(sampler.schedule),
        "steps": parts.name_of(sampler.steps),
        "sigma_min": _plain(float(sigmas[-2])),
        "sigma_max": _plain(float(sigmas[0])),
        "rho": _setting(sampler.steps, "rho") if not sampler.solver.adaptive else None,
        "churn": 0.0 if churn is None else churn.amount,
        "churn_sigma_min": None if churn is None else churn.sigma_min,
        "churn_sigma_max": None if churn is None else churn.sigma_max,
        "noise_scale": restarts.noise_scale if restarts is not None else None if churn is None else churn.noise_scale,
        "alpha": _setting(sampler.solver, "alpha"),
        "guidance": 1.0 if sampler.guidance is None else sampler.guidance.weight,
    }
    return {name: value for name, value in columns.items() if value is not None}


def _setting(part: object, name: str) -> Any:
    """The value of a setting; None where the part has none of that name, as Heun's method has no alpha to choose."""
    return getattr(part, name) if name in {each.name for each in parts.settings(type(part))} else None


def _plain(sigma: float) -> float:
    """Without what rounding does to the last digits, so that equal ranges are equal numbers."""
    return float(f"{sigma:.12g}")
