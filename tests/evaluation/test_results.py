"""Tables of results: read back exactly, whole at any moment, and refused in one line if they are none."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from elucidiff.evaluation import results
from elucidiff.evaluation.results import COLUMNS, ResultsTable, Row, read_results, write_results

FULL = Row(
    "curve", "heun, karras rho 7", "heun", "edm", "karras", 7.0, 0.002, 80.0, 30.0, 0.05, math.inf, 1.007, 1.0, 2.0,
    35, 35.0, "0-4999", 0, 5000, "fid", 0.1 + 0.2, True, 'a "model"-1234abcd', "digits-1", "pca-20-2", 12.345,
)  # fmt: skip
BARE = Row("training", "größer\nals", metric="recall", value=-0.0, lower_is_better=False)


def test_columns_are_in_their_order(tmp_path: Path) -> None:
    write_results(tmp_path, [FULL])
    header = (tmp_path / "results.csv").read_text().splitlines()[0]
    assert header == (
        "experiment,configuration,solver,schedule,steps,rho,sigma_min,sigma_max,churn,churn_sigma_min,"
        "churn_sigma_max,noise_scale,alpha,guidance,budget,nfe,seeds,seed,images,metric,value,lower_is_better,model,"
        "reference,extractor,seconds"
    )
    table = parquet.read_table(tmp_path / "results.parquet")
    assert ",".join(table.column_names) == header
    types = {name: str(table.schema.field(name).type) for name in ("budget", "value", "lower_is_better", "model")}
    assert types == {"budget": "int64", "value": "double", "lower_is_better": "bool", "model": "string"}


def test_read_back_exactly(tmp_path: Path) -> None:
    write_results(tmp_path, [FULL, BARE])
    for path in (tmp_path, tmp_path / "results.csv", tmp_path / "results.parquet"):
        found = read_results(path)
        assert found == [FULL, BARE]
        assert math.copysign(1, found[1].value) == -1
    with (tmp_path / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert (lines[0]["value"], lines[1]["budget"], lines[1]["lower_is_better"]) == (
        "0.30000000000000004",
        "",
        "false",
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=5), st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_number_and_any_name(tmp_path_factory: pytest.TempPathFactory, values: list[float], name: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    write_results(folder, [Row("curve", name, seed=seed, metric="fid", value=x) for seed, x in enumerate(values)])
    for path in (folder / "results.csv", folder / "results.parquet"):
        found = read_results(path)
        assert [repr(row.value) for row in found] == [repr(value) for value in values]
        assert {row.configuration for row in found} == {name}


def test_a_figure_is_there_once(tmp_path: Path) -> None:
    table = ResultsTable(tmp_path)
    table.add([FULL, BARE])
    others = [
        dataclasses.replace(FULL, seed=1),
        dataclasses.replace(FULL, budget=11),
        dataclasses.replace(FULL, value=1.0),
    ]
    table.add(others)
    assert ResultsTable(tmp_path).rows == table.rows == [others[2], BARE, others[0], others[1]]
    assert table.find(configuration=FULL.configuration, budget=35) == [others[2], others[0]]
    assert table.find(seed=None) == [BARE]
    assert FULL.place in table
    assert ("curve", FULL.configuration, 35, 2, "fid") not in table
    with pytest.raises(ValueError, match=r"no column 'metrics'.*did you mean 'metric'"):
        table.find(metrics="fid")


def test_equal_rows_are_equal_files(tmp_path: Path) -> None:
    write_results(tmp_path / "a", [FULL, BARE])
    table = ResultsTable(tmp_path / "b")
    table.add([FULL])
    table.add([BARE])
    for name in ("results.csv", "results.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("survivors", [0, 1])
def test_a_full_disk_leaves_the_rows_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survivors: int
) -> None:
    table = ResultsTable(tmp_path)
    table.add([FULL])
    write, left = results.write_whole, survivors

    def fails(path: Path, content: object) -> Path:
        nonlocal left
        if left == 0:
            raise OSError(28, "No space left on device", str(path))
        left -= 1
        return write(path, content)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(results, "write_whole", fails)
        with pytest.raises(OSError, match="No space"):
            table.add([BARE])
    assert table.rows == ResultsTable(tmp_path).rows == [FULL]
    table.add([BARE])
    assert read_results(tmp_path / "results.parquet") == read_results(tmp_path) == [FULL, BARE]


def test_what_a_spreadsheet_made_of_it(tmp_path: Path) -> None:
    path = tmp_path / "edited.csv"
    path.write_text(
        "value,metric,configuration,experiment,budget,lower_is_better,images\n"
        "1.5,fid,ours,curve,35.0,True,5000\n2.5,recall,ours,curve,,FALSE,\n"
    )
    expected = [
        Row("curve", "ours", budget=35, images=5000, metric="fid", value=1.5),
        Row("curve", "ours", metric="recall", value=2.5, lower_is_better=False),
    ]
    assert read_results(path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'experiment' is missing"),
        ("configuration,metric,value\n", "'experiment' is missing"),
        ("experiment,configuration,metric,value,extracter\n", "'extracter' is unknown; did you mean 'extractor'"),
        ("experiment,configuration,metric,value\ncurve,a,fid\n", "line 2 has 3 values instead of 4"),
        ("experiment,configuration,metric,value\ncurve,a,fid,good\n", "value is 'good'"),
        ("experiment,configuration,metric,value\ncurve,a,fid,\n", "value is empty"),
        ("experiment,configuration,metric,value,seed\ncurve,a,fid,1,0.5\n", "seed is '0.5'"),
        ("experiment,configuration,metric,value,images\ncurve,a,fid,1,inf\n", "images is 'inf'"),
        ("experiment,configuration,metric,value,lower_is_better\ncurve,a,fid,1,yes\n", "lower_is_better is 'yes'"),
        ('experiment,configuration,metric,value\n"curve,a,fid,1\n', "unexpected end of data"),
        ("\xff\xfe\x00", "utf-8"),
    ],
)
def test_no_table_of_results(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="is no table of results") as error:
        ResultsTable(tmp_path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "results.parquet").write_bytes(b"PAR1 junk")
    with pytest.raises(ValueError, match="is no table of results"):
        read_results(tmp_path / "results.parquet")
    parquet.write_table(pa.table({"metric": ["fid"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="'experiment' is missing"):
        read_results(tmp_path / "other.parquet")
    (tmp_path / "table.md").write_text("| a |")
    with pytest.raises(ValueError, match=r"name a folder with results\.csv"):
        read_results(tmp_path / "table.md")
    for path in (tmp_path, tmp_path / "missing.csv", tmp_path / "missing.parquet"):
        with pytest.raises(FileNotFoundError):
            read_results(path)
    assert len(COLUMNS) == 26
