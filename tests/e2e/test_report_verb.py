"""``elucidiff report`` and ``elucidiff figure`` by the command line: what is refused, and nothing half written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from elucidiff.evaluation.results import write_results
from tests.e2e.conftest import Run
from tests.figures.rows import CURVES
from tests.sampling.tiny_model import save_tiny_model


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A folder with a table of results."""
    write_results(tmp_path / "table", CURVES)
    return tmp_path / "table"


def refused(run: Run, *words: str | Path) -> str:
    """The one line that ``elucidiff words`` prints as it refuses."""
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("figure", "curvatur"), "did you mean 'curvature'?"),
        (("figure", "curvature", "--sigma-max", "0.001"), "sigma_min 0.002 is not below sigma_max 0.001"),
        (("figure", "quality-against-nfe", "TABLE", "--metric", "fdi"), "did you mean 'fid'?"),
        (("figure", "quality-against-nfe", "TABLE", "--only", "huen"), "did you mean 'heun'?"),
        (("figure", "quality-against-nfe", "no/such"), "no/such"),
        (("figure", "churn-heat-map", "TABLE"), "a map needs two settings that vary"),
        (("figure", "churn-heat-map", "TABLE", "--axes", "churn"), "names 1 columns"),
        (("figure", "saved", "NUMBERS"), "holds no numbers of a figure"),
        (("figure", "strips", "no/such/model"), "no/such/model"),
        (("figure", "strips", "MODEL"), "does not tell what data it is of"),
        (("figure", "strips", "MODEL", "digits"), "(1, 4, 4), but those of digits are (1, 8, 8)"),
        (("figure", "strips", "MODEL", "--sigma", "0.1,x"), "--sigma"),
        (("figure", "repeated-churn", "MODEL", "SMALL", "--cycles", "3,1"), "increasing numbers"),
        (("figure", "repeated-churn", "MODEL", "SMALL", "--images", "0"), "--images is 0"),
        (("figure", "step-errors", "MODEL", "--rho", "0"), "rho is 0"),
        (("report", "no/such"), "no/such"),
        (("report", "TABLE", "--out", "page.pdf"), "let it end with .html"),
    ],
)
def test_mistakes(elucidiff: Run, table: Path, tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    model, numbers, small = tmp_path / "model", tmp_path / "n.npz", tmp_path / "small.npz"
    np.savez(numbers, about=np.zeros(2))
    np.savez(small, images=np.zeros((5, 1, 4, 4), np.uint8))
    if "MODEL" in words:
        save_tiny_model(model)
    places = {"TABLE": table, "MODEL": model, "NUMBERS": numbers, "SMALL": small}
    given = [str(places.get(word, word)) for word in words]
    out = () if "--out" in words or words[0] == "report" else ("--out", str(tmp_path / "out.png"))
    assert says in refused(elucidiff, *given, *out)
    assert not list(tmp_path.glob("out.*"))


def test_configurations_are_chosen_by_name(elucidiff: Run, table: Path, tmp_path: Path) -> None:
    words = (
        "figure",
        "quality-against-nfe",
        table,
        "--only",
        "dpmpp_2m; heun, churn 20",
        "--out",
        tmp_path / "f.png",
    )
    assert elucidiff(*words).returncode == 0
    (tmp_path / "f.svg").read_text(encoding="utf-8")
    done = elucidiff(*words[:-4], "--out", tmp_path / "all.png")
    assert done.stdout.split() == [str(tmp_path / "all.png"), str(tmp_path / "all.svg")]
    assert len((tmp_path / "f.svg").read_bytes()) < len((tmp_path / "all.svg").read_bytes())


def test_a_report_says_what_it_left_out(elucidiff: Run, table: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "results.csv").write_text("no,table\n")
    done = elucidiff("report", tmp_path, "--out", tmp_path / "page.html")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'page.html'}\n")
    assert re.fullmatch(r".*damaged is left out: .*is no table of results.*\n", done.stderr)
    assert "Quality against evaluations" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_report_twice_is_the_same(elucidiff: Run, table: Path) -> None:
    assert elucidiff("report", table).returncode == 0
    first = (table / "report.html").read_bytes()
    assert elucidiff("report", table).returncode == 0
    assert (table / "report.html").read_bytes() == first


def test_a_full_disk_ends_in_one_line_and_keeps_the_page_of_before(table: Path) -> None:
    """A limit on the size of files stands in for the full disk; it needs a process of its own."""
    (table / "report.html").write_text("before")
    script = (
        "import resource, signal, sys\n"
        "from elucidiff.cli.main import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "report", str(table)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("elucidiff report: error: File too large")
    assert (table / "report.html").read_text() == "before"
    assert sorted(path.name for path in table.iterdir()) == ["report.html", "results.csv", "results.parquet"]
