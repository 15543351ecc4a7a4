"""``elucidiff search``: what is kept is what is used, mistakes are told, and a kill costs little."""

from __future__ import annotations

import csv
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from elucidiff.cli.search import Options
from elucidiff.denoisers.model_folder import checksum
from elucidiff.evaluation.results import read_results
from elucidiff.evaluation.search.options import PAPER_GRID
from elucidiff.sampling import NamedSampler, Sampler, save_named
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.saved_samplers import Quality
from tests.e2e.conftest import Run
from tests.e2e.test_bad_input import refused
from tests.sampling.tiny_model import save_tiny_model

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "search.md").read_text(encoding="utf-8")
QUICK = ("--seeds=100-103", "--fresh-seeds=200-207", "--batch-size=4", "--device=cpu")
ERROR = ("--metric=error", "--over", "rho=2:12", "--steps=karras:n=6,rho=2", "--trials=4", *QUICK)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return save_tiny_model(tmp_path / "model")


def table(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_kept_is_what_is_used(elucidiff: Run, model: Path) -> None:
    done = elucidiff("search", model, *ERROR)
    assert done.returncode == 0, done.stderr
    trials = table("searches/searched/trials.csv")
    assert [row["trial"] for row in trials] == list("0123")
    assert trials[0]["rho"] == "2.0"
    best = min(trials, key=lambda row: float(row["value"]))
    kept = json.loads((model / "samplers" / "searched.json").read_text())
    assert kept["sampler"]["steps"]["rho"] == float(best["rho"])
    assert (kept["nfe"], kept["warm_up_seeds"], kept["seeds"]) == (11, "100-103", "200-207")
    quality = kept["quality"]
    assert quality["value"] < quality["base_value"]
    assert (quality["metric"], quality["seeds"], quality["blocks"]) == ("error", "200-207", 2)
    drawn = elucidiff("sample", model, "--sampler=searched", "--seeds=0-3", "--processes=1", "--out=out")
    assert drawn.returncode == 0, drawn.stderr
    assert json.loads(Path("out/samples.json").read_text())["sampler"]["steps"]["rho"] == float(best["rho"])
    assert "has a sampler 'searched' already" in refused(elucidiff, "search", model, *ERROR)


def test_rows_of_a_search(elucidiff: Run, model: Path) -> None:
    assert elucidiff("search", model, *ERROR).returncode == 0
    rows, trials = read_results(Path("searches/searched")), table("searches/searched/trials.csv")
    assert rows == read_results(Path("searches/searched/results.parquet"))
    assert [row.configuration for row in rows] == [
        *(f"trial {k}" for k in range(4)),
        *2 * ["before"],
        *2 * ["searched"],
    ]
    assert [(row.value, row.rho) for row in rows[:4]] == [(float(row["value"]), float(row["rho"])) for row in trials]
    assert {row.seeds for row in rows[:4]} == {"100-103"}
    assert [(row.seeds, row.seed, row.images) for row in rows[4:6]] == [("200-203", 0, 4), ("204-207", 1, 4)]
    assert {(row.experiment, row.metric, row.nfe) for row in rows} == {("search", "truncation_error", 11.0)}
    quality = json.loads((model / "samplers" / "searched.json").read_text())["quality"]
    assert quality["base_value"] == pytest.approx((rows[4].value + rows[5].value) / 2, rel=1e-12)
    assert quality["value"] == pytest.approx((rows[6].value + rows[7].value) / 2, rel=1e-12)


@pytest.mark.slow
def test_churn_against_real_digits(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    words = ("search", trained / "model", "--extractor=pca-5", "--n=4", "--trials=4", "--device=cpu")
    words += ("--seeds=100-159", "--fresh-seeds=200-319", "--batch-size=60", "--out", tmp_path / "out")  # type: ignore[assignment]
    done = elucidiff(*words)
    assert done.returncode == 0, done.stderr
    trials = table(str(tmp_path / "out" / "trials.csv"))
    assert list(trials[0]) == ["trial", "state", "S_churn", "S_tmin", "S_tmax", "S_noise", "images", "nfe", "value"]
    assert {row["images"] for row in trials} == {"20", "60"}
    assert re.search(r"before: fid [\d.]+ ± [\d.]+ on fresh seeds, 7 evaluations", done.stdout)
    assert "space base steps n = 4, not space base steps n = 5" in refused(elucidiff, *words, "--n=5", "--overwrite")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--metric=fdi",), "--metric 'fdi' is unknown; did you mean 'fid'?"),
        (("--over", "chrun"), "no sampling option 'chrun'; did you mean 'churn'?"),
        (("--metric=error",), "churn.amount adds noise, so there is no exact solution: take another --metric"),
        (("--metric=error", "--over", "guidance"), "guidance.weight changes the exact solution"),
        (("--metric=error", "--over", "rho", "--solver=rk45"), "chooses its own steps"),
        (("--over", "rho", "--fresh-seeds=200-205"), "--fresh-seeds are 6, but must be a multiple of --seeds, 4"),
        (("--over", "rho", "--fresh-seeds=100-103"), "seed 100 is both for"),
        (("--metric=error", "--over", "rho", "--first-images=9"), "trials of 4 images cannot be looked at after 9"),
        (("--metric=error", "--over", "rho", "--trials=0"), "0 trials are none"),
        (
            ("--metric=error", "--over", "rho", "--front", "--seeds=1-6", "--fresh-seeds=7-12", "--first-images=2"),
            "ended early",
        ),
        (("--metric=error", "--over", "rho", "--storage=study.txt"), "is neither a file *.db or *.journal nor a URL"),
        (("--metric=error", "--over", "rho", "--method=grid"), "steps.rho has no usual grid"),
        (("--over", "rho"), "does not tell what it was trained on: name data with --reference"),
        (("--name=a/b",), "cannot name a sampler"),
    ],
)
def test_mistakes_are_told_before_any_work(elucidiff: Run, model: Path, words: tuple[str, ...], said: str) -> None:
    assert said in refused(elucidiff, "search", model, *QUICK, *words)
    assert not Path("searches").exists()


def test_without_optuna(elucidiff: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "a search needs Optuna: pip install 'elucidiff[search]'" in refused(elucidiff, "search", model)


def test_other_weights_are_another_study(elucidiff: Run, model: Path) -> None:
    assert elucidiff("search", model, *ERROR, "--trials=1").returncode == 0
    facts = json.loads((model / "model.json").read_text())
    facts["preconditioning"]["sigma_data"] *= 1.01
    (model / "model.json").write_text(json.dumps(facts))
    assert "the study 'searched' was begun with model = " in refused(elucidiff, "search", model, *ERROR)


@pytest.mark.slow
def test_stopped_and_killed_it_ends_with_the_same_table(elucidiff: Run, model: Path) -> None:
    words = ["search", str(model), *ERROR, "--trials=8"]
    for name, code in (("INT", 130), ("KILL", -9)):
        process = subprocess.Popen(
            [sys.executable, "-m", "elucidiff.cli.main", *words, "--name=a"], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "trial" in line and "solving" not in line:
                break
        time.sleep(0.05)
        process.send_signal(signal.Signals[f"SIG{name}"])
        said = process.stderr.read()
        assert process.wait() == code
        assert name == "KILL" or "what was found so far is kept; the same command goes on" in said
        assert not Path("searches/a/trials.csv").exists()
    for study in ("a", "b"):
        done = elucidiff(*words, f"--name={study}")
        assert done.returncode == 0, done.stderr
    assert Path("searches/a/trials.csv").read_bytes() == Path("searches/b/trials.csv").read_bytes()
    trials = table("searches/b/trials.csv")
    assert len(trials) == 8
    assert elucidiff(*words, "--name=b", "--trials=9", "--overwrite").returncode == 0
    assert table("searches/b/trials.csv")[:8] == trials


@pytest.mark.slow
def test_the_guide(elucidiff: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands and its code are run."""
    monkeypatch.chdir(tmp_path)
    Path("runs/digits").mkdir(parents=True)
    Path("runs/digits/model").symlink_to(trained / "model")
    few = ("--seeds=100-101", "--fresh-seeds=200-201", "--batch-size=2")
    some = ("--seeds=100-119", "--fresh-seeds=200-219", "--batch-size=20", "--n=3")
    for line in "".join(re.findall(r"<!-- commands -->\n```bash\n(.*?)```", GUIDE, re.DOTALL)).splitlines():
        program, *words = shlex.split(line)
        assert program == "elucidiff"
        if words[0] == "search":
            done = elucidiff(*words, *(few if "error" in words else some), "--trials=2", "--device=cpu")
            assert done.returncode == 0, (line, done.stderr)
    assert Path("study.journal").exists()
    (code,) = re.findall(r"<!-- code -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(names["done"].study.trials) == 6


def test_the_guide_knows_the_usual_ranges() -> None:
    usual = re.search(r"These have a usual range: (.*?)\. All", GUIDE, re.DOTALL)
    assert usual is not None
    assert set(PAPER_GRID) <= set(re.findall(r"`([\w.]+)`", usual[1]))
    assert Options(Path("model")).over == tuple(PAPER_GRID)


def test_samplers_that_add_noise_are_not_measured_again_as_if_they_did_not(elucidiff: Run, model: Path) -> None:
    quality = Quality("fid", 1.0, 0.1, 2.0, 0.1, "3-4", 1)
    kept = NamedSampler(
        "s",
        Sampler(churn=Churn(amount=3.0)),
        checksum(model),
        35,
        *[None] * 5,
        "1-2",
        "search",
        quality,
    )  # type: ignore[arg-type]
    save_named(model, kept)
    assert f"all samplers of {model} add noise" in refused(elucidiff, "steps", "measure", model)
