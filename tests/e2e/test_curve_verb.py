"""``elucidiff curve``: measured once, gone on with after kills, added to, and refused, all by the command line."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.denoisers.backends import with_backend
from elucidiff.design.steps import Levels
from elucidiff.evaluation.ablation import cells
from elucidiff.evaluation.quality import Evaluator, open_reference, principal_components
from elucidiff.evaluation.results import Row, read_results
from elucidiff.figures import quality_against_nfe
from elucidiff.figures.style import encoded
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.saved_samplers import NamedSampler, save_named
from tests.cli.test_evaluate_kills import begin
from tests.e2e.conftest import Run
from tests.e2e.test_bad_input import refused
from tests.sampling.tiny_model import save_tiny_model

pytestmark = pytest.mark.usefixtures("own_cache")
QUICK = (
    "--images=20", "--exact-images=4", "--blocks=2", "--batch-size=4", "--extractor=pca-3", "--device=cpu",
)  # fmt: skip


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of references are kept where nobody else looks."""
    monkeypatch.setenv("ELUCIDIFF_DATA", str(tmp_path_factory.getbasetemp() / "curve-cache"))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of the tiny model's size."""
    path = tmp_path_factory.mktemp("noise") / "noise.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 255, (40, 1, 4, 4)).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("curve") / "tiny")


def timeless(folder: Path) -> list[Row]:
    """All rows, but for the time that they took."""
    return [dataclasses.replace(row, seconds=None) for row in read_results(folder)]


def test_figures_are_those_of_the_samples(elucidiff: Run, model: Path, noise: Path, tmp_path: Path) -> None:
    words = (
        "curve",
        model,
        noise,
        "--solvers",
        "heun",
        "ipndm",
        "--churn",
        "0",
        "5",
        "--nfe=4,7",
        "--out",
        tmp_path,
        *QUICK,
    )
    planned = elucidiff(*words, "--plan")
    assert (planned.returncode, planned.stdout, list(tmp_path.iterdir())) == (0, "", [])
    assert "16 to make: about " in planned.stderr
    done = elucidiff(*words)
    assert done.returncode == 0, done.stderr

    rows = read_results(tmp_path)
    assert rows == read_results(tmp_path / "results.parquet")
    assert len(rows) == 16 + 8
    assert {row.model[:5] for row in rows} == {"tiny-"}
    denoiser, dataset = with_backend(ed.load(model), "eager"), ed.data.open(str(noise))
    extractor = principal_components(dataset, 3)
    evaluator = Evaluator(extractor, open_reference(dataset, extractor))
    for solver, churn, budget, n in (("heun", 5.0, 7, 4), ("ipndm", 0.0, 4, 4), ("ipndm", 5.0, 7, 7)):
        (row,) = [
            row
            for row in rows
            if (row.solver, row.churn, row.budget, row.seed, row.metric) == (solver, churn, budget, 1, "fid")
        ]
        x = (
            ed.Sampler(steps=f"karras:n={n}", solver=solver, churn=Churn(amount=churn))
            .run(denoiser, range(20, 40), batch_size=4)
            .x
        )
        assert row.value == pytest.approx(evaluator.values(np.asarray(evaluator.features(x)))["fid"], rel=1e-9)
        assert (row.nfe, row.images, row.seeds) == (budget, 20, "20-39")
    (row,) = [
        row for row in rows if (row.metric, row.budget, row.solver, row.seed) == (cells.TRUNCATION, 7, "heun", 0)
    ]
    fine = ed.Sampler(steps="karras:n=200", solver="unipc:p=3")
    x, exact = (sampler.run(denoiser, range(4), batch_size=4).x for sampler in (ed.Sampler(steps="karras:n=4"), fine))
    assert row.value == pytest.approx(float((x - exact).square().mean().sqrt()), rel=1e-3)

    for metric in ("fid", cells.TRUNCATION):
        for kind in ("png", "svg"):
            drawn = encoded(quality_against_nfe.draw(rows, metric), kind)
            assert (tmp_path / f"{metric}.{kind}").read_bytes() == drawn

    text = (tmp_path / "curve.md").read_text()
    assert done.stdout == text + "\n"
    assert "| configuration | 4 evaluations | 7 evaluations |" in text
    (_, truncation, frechet) = text.split("###")
    assert re.findall(r"^\| `(.*?)`", truncation, re.MULTILINE) == ["heun, karras rho 7", "ipndm, karras rho 7"]
    assert len(re.findall(r"^\| `", frechet, re.MULTILINE)) == 4
    best = min((r for r in rows if (r.metric, r.budget) == (cells.TRUNCATION, 7)), key=lambda r: r.value)
    assert re.search(rf"`{best.configuration}` \|.*\*\*[\d. ±]+\*\* \|$", truncation, re.MULTILINE)


def test_choices_budgets_blocks_and_figures_are_added(elucidiff: Run, noise: Path, tmp_path: Path) -> None:
    words = ("curve", "ideal", noise, "--out", tmp_path, *QUICK)
    assert elucidiff(*words, "--metrics=truncation_error", "--nfe=5").returncode == 0
    before = timeless(tmp_path)
    assert len(before) == 2
    done = elucidiff(
        *words, "--metrics=truncation_error,fid", "--nfe=5,9", "--steps", "karras:rho=3", "karras:rho=7", "--blocks=3"
    )
    assert done.returncode == 0, done.stderr
    after = timeless(tmp_path)
    assert after[:2] == before
    assert len(after) == 2 * 2 * 3 * 2
    last = (tmp_path / "results.csv").read_bytes()
    # What is there is shown, not measured, also by a command that asks for less.
    less = elucidiff(*words, "--metrics=truncation_error", "--nfe=5")
    assert less.returncode == 0, less.stderr
    assert "2 of 2 measurements are there already" in less.stderr
    assert (tmp_path / "results.csv").read_bytes() == last


def test_combinations_that_make_no_sense_are_named(elucidiff: Run, noise: Path, tmp_path: Path) -> None:
    words = ("curve", "ideal", noise, "--out", tmp_path, *QUICK)
    done = elucidiff(*words, "--solvers", "heun", "dpmpp_2m:eta=1", "--churn", "0", "30", "--nfe=2,5", "--plan")
    assert done.returncode == 0, done.stderr
    assert "left out: solver dpmpp_2m:eta=1, churn 30: DPMpp2M adds noise itself" in done.stderr
    assert "left out: heun, karras rho 7 @ 2: a budget of 2 network evaluations is too small" in done.stderr
    assert "8 to make" in done.stderr


def test_samplers_beside_the_model_are_points(elucidiff: Run, model: Path, noise: Path, tmp_path: Path) -> None:
    ed_levels = ed.Sampler(steps=Levels((80.0, 5.0, 1.0, 0.2, 0.002, 0.0)), solver="ipndm")
    checksum = ed.denoisers.model_folder.checksum(model)
    named = NamedSampler("fast", ed_levels, checksum, 5, None, None, None, None, None, None, "by hand")
    save_named(model, named)
    done = elucidiff("curve", model, noise, "--samplers=fast", "--nfe=7", "--out", tmp_path, *QUICK)
    assert done.returncode == 0, done.stderr
    assert "| configuration | 5 evaluations | 7 evaluations |" in done.stdout
    assert re.search(r"^\| `fast` \| [^–]+ \| – \|$", done.stdout, re.MULTILINE)
    assert {(row.steps, row.nfe) for row in read_results(tmp_path) if row.configuration == "fast"} == {
        ("levels", 5.0)
    }


def test_principal_components_need_images(elucidiff: Run, model: Path, tmp_path: Path) -> None:
    statistics = tmp_path / "statistics.npz"
    np.savez(statistics, mu=np.zeros(3), sigma=np.eye(3))
    assert "holds statistics alone" in refused(elucidiff, "curve", model, statistics, "--metrics=fid", *QUICK)


def rows_so_far(folder: Path) -> int:
    return len(read_results(folder)) if (folder / "results.csv").exists() else 0


@pytest.mark.slow
def test_killed_again_and_again(noise: Path, tmp_path: Path) -> None:
    words = [
        "curve",
        "ideal",
        str(noise),
        "--solvers",
        "heun",
        "dpmpp_2m",
        "--churn",
        "0",
        "3",
        "--nfe=5,9",
        *QUICK,
        "--out",
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a fork has one thread, whatever its parent had
    try:
        assert main([*words, str(tmp_path / "whole")]) == 0
        out, kept, torn = tmp_path / "killed", [], 0
        for renames in range(1, 100):
            # Killed when that many files are about to appear: one later each time, so that some work is done.
            code = os.waitstatus_to_exitcode(os.waitpid(begin([*words, str(out)], renames), 0)[1])
            if code == 0:
                break
            assert code == -signal.SIGKILL
            kept.append(rows_so_far(out))
            if (out / "results.parquet").exists():
                torn += len(read_results(out / "results.parquet")) > kept[-1]
        assert len(kept) > 3
        assert torn  # some died when one of the two files was there, and the other was not
        assert sorted(kept) == kept
        assert timeless(out) == timeless(tmp_path / "whole")
        assert read_results(out / "results.parquet") == read_results(out)
        for name in ("curve.md", "curve.csv", "curve.json"):
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_keeps_what_is_measured(
    elucidiff: Run, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    words = ("curve", "ideal", noise, "--nfe=5,9", "--out", tmp_path / "stopped", *QUICK)
    add, left = ed.evaluation.results.ResultsTable.add, 2

    def then_signal(table: ed.evaluation.results.ResultsTable, rows: Sequence[Row]) -> None:
        nonlocal left
        add(table, rows)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(ed.evaluation.results.ResultsTable, "add", then_signal)
        stopped = elucidiff(*words)
    assert stopped.returncode == code, stopped.stderr
    assert f"stopped by {number.name}, what was measured is kept" in stopped.stderr
    assert rows_so_far(tmp_path / "stopped") == 4
    assert (tmp_path / "stopped" / "fid.svg").exists()
    assert elucidiff(*words).returncode == 0
    assert elucidiff(*words[: -len(QUICK) - 1], tmp_path / "whole", *QUICK).returncode == 0
    assert timeless(tmp_path / "stopped") == timeless(tmp_path / "whole")


def test_bad_input(elucidiff: Run, model: Path, noise: Path, tmp_path: Path) -> None:
    def says(*words: str | Path) -> str:
        return refused(elucidiff, "curve", *words)

    out = tmp_path / "out"
    words = (model, noise, "--out", out, *QUICK)
    assert "did you mean 'heun'" in says(*words, "--solvers=huen")
    assert "did you mean 'karras'" in says(*words, "--steps=karas")
    assert "did you mean 'truncation_error'" in says(*words, "--metrics=truncation-error")
    assert "names no metric" in says(*words, "--metrics=,")
    assert "rk45 chooses its own steps" in says(*words, "--solvers", "rk45", "heun")
    assert "rho of steps karras is '3;7', but must be a number" in says(*words, "--steps=karras:rho=3;7")
    assert "--nfe has a value twice" in says(*words, "--nfe=5,5")
    assert "nothing can be had within these budgets" in says(*words, "--nfe=2")
    assert "none of these combinations makes sense: ERSDE adds noise" in says(*words, "--solvers=er_sde", "--churn=3")
    assert "solver of --base would have no effect" in says(*words, "--solvers=heun", "--base=solver=euler")
    assert "n of --base would have no effect" in says(*words, "--base=steps=karras:n=5")
    assert "noise_scale would have no effect" in says(*words, "--base=churn=0,noise_scale=1.01")
    assert "noise_scale would have no effect" in says(*words, "--churn=0,noise_scale=1.01")
    assert "--churn has a value twice" in says(*words, "--churn", "3", "churn:amount=3")
    assert "does not tell what data it is of" in says(model, "--out", out, *QUICK)
    assert "exact denoiser of a data set" in says("ideal", "--out", out, *QUICK)
    assert "are for a model" in says("ideal", noise, "--samplers=fast", "--out", out, *QUICK)
    assert "neither an evaluator nor" in says(
        model, "--metrics=truncation_error", "--out", out, *QUICK, "--exact-images=0"
    )
    assert "guid" in says(*words, "--guidance=2")
    assert not out.exists()

    assert elucidiff("curve", *words, "--nfe=4").returncode == 0
    assert "images is 20, not 24" in says(*words, "--nfe=4", "--images=24")
    assert "backend is eager, not onnx" in says(*words, "--nfe=4", "--backend=onnx")
    assert "model " in says("ideal", noise, "--nfe=4", "--out", out, *QUICK)
    assert "extractor is pca-3" in says(*words, "--nfe=4", "--extractor=pca-4")
    table = (out / "results.csv").read_text()
    (out / "results.csv").write_text(table[:-30])
    assert "is no table of results: line" in says(*words, "--nfe=4")
    (out / "results.csv").write_text(table)
    (out / "curve.json").write_text("{}")
    assert "is damaged" in says(*words, "--nfe=4")
