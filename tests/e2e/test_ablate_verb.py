"""``elucidiff ablate``: tables are filled, killed, gone on with, and refused, all by the command line."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import elucidiff as ed
from elucidiff.denoisers.backends import Backend, with_backend
from elucidiff.evaluation.ablation import RECIPES
from elucidiff.evaluation.ablation.cells import TRUNCATION
from elucidiff.evaluation.quality import Evaluator, open_reference, principal_components
from elucidiff.training.config import TrainingConfig
from tests.e2e.conftest import Run
from tests.e2e.test_bad_input import refused
from tests.sampling.tiny_model import save_tiny_model

pytestmark = pytest.mark.usefixtures("own_cache")
QUICK = ("--nfe=5,9", "--images=20", "--exact-images=4", "--seeds=2", "--batch-size=4", "--extractor=pca-3")


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of references are kept where nobody else looks."""
    monkeypatch.setenv("ELUCIDIFF_DATA", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def blurs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 blurred images of the tiny model's size."""
    path = tmp_path_factory.mktemp("blurs") / "blurs.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 255, (40, 1, 4, 4)).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("ablated") / "model")


def results(folder: Path) -> dict[tuple[str, ...], str]:
    """Every figure, to the last digit."""
    with (folder / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    return {
        tuple(line[name] for name in ("configuration", "budget", "seed", "metric")): line["value"] for line in lines
    }


@pytest.mark.parametrize(
    ("table", "rows", "exact"),
    [
        ("sampling", ("vp", "vp-heun", "ve", "ve-heun", "ddim", "edm-euler", "edm"), 7),
        ("churn", ("deterministic", "churn", "churn-range", "churn-noise", "all", "vp-sde", "ve-pc"), 1),
        ("alpha", ("alpha-0.5", "alpha-0.6", "alpha-0.7", "alpha-0.8", "alpha-0.9", "alpha-1", "alpha-1.1"), 7),
    ],
)
def test_a_table_is_filled_once(
    elucidiff: Run, blurs: Path, tmp_path: Path, table: str, rows: tuple[str, ...], exact: int
) -> None:
    words = ("ablate", table, "ideal", "--data", blurs, "--out", tmp_path, *QUICK)
    planned = elucidiff(*words, "--plan")
    assert (planned.returncode, planned.stdout) == (0, "")
    assert f"{len(rows) * 4} to make: about " in planned.stderr
    assert not list(tmp_path.iterdir())

    done = elucidiff(*words)
    assert done.returncode == 0, done.stderr
    assert tuple(dict.fromkeys(re.findall(r"^\| `(\S+)` \| [^`]", done.stdout, re.MULTILINE))) == rows
    assert done.stdout == (tmp_path / "table.md").read_text() + "\n"
    figures = results(tmp_path)
    assert len(figures) == len(rows) * 4 + exact * 4
    first = (tmp_path / "results.csv").read_bytes()

    again = elucidiff(*words)
    assert f"{len(rows) * 4} of {len(rows) * 4} measurements are there already" in again.stderr
    assert again.stdout == done.stdout
    assert (tmp_path / "results.csv").read_bytes() == first


def test_budgets_and_seeds_are_added(elucidiff: Run, blurs: Path, tmp_path: Path) -> None:
    words = ("ablate", "alpha", "ideal", "--data", blurs, "--alphas=0.5,1", "--out", tmp_path)
    assert elucidiff(*words, *QUICK).returncode == 0
    before = results(tmp_path)
    done = elucidiff(*words, *QUICK, "--nfe=7,9", "--seeds=3")
    assert done.returncode == 0, done.stderr
    assert results(tmp_path).items() > before.items()
    assert "over 3 seeds" in done.stdout
    values = {key[:2]: float(value) for key, value in results(tmp_path).items() if key[2:] == ("0", TRUNCATION)}
    assert values["alpha-1", "9"] <= values["alpha-1", "7"] < values["alpha-1", "5"]


def test_settings_that_an_older_program_did_not_know(elucidiff: Run, blurs: Path, tmp_path: Path) -> None:
    """They had their defaults then; with another value, it would be another ablation."""
    words = ("ablate", "alpha", "ideal", "--data", blurs, "--alphas=0.5,1", "--out", tmp_path, *QUICK)
    assert elucidiff(*words).returncode == 0
    path = tmp_path / "ablation.json"
    kept = json.loads(path.read_text())
    for choice, name, code in (("steps", "rho", 0), ("solver", "alpha", 2)):
        older = {
            row: {**each, choice: {k: v for k, v in each[choice].items() if k != name}}
            for row, each in kept["configurations"].items()
        }
        assert older != kept["configurations"]
        path.write_text(json.dumps({**kept, "configurations": older}))
        done = elucidiff(*words)
        assert done.returncode == code, done.stderr
    assert "alpha-0.5.solver.alpha is 1.0, not 0.5" in done.stderr


@pytest.mark.parametrize("backend", ["eager", "onnx"])
def test_a_model_is_evaluated_by_its_samples(
    elucidiff: Run, model: Path, blurs: Path, tmp_path: Path, backend: Backend
) -> None:
    words = ("ablate", "sampling", model, "--data", blurs, "--only=edm", "--out", tmp_path, *QUICK)
    words += ("--backend", backend)
    done = elucidiff(*words, "--nfe=5", "--seeds=1", "--exact-images=0")
    assert done.returncode == 0, done.stderr
    dataset = ed.data.open(str(blurs))
    extractor = principal_components(dataset, 3)
    evaluator = Evaluator(extractor, open_reference(dataset, extractor))
    x = (
        ed.Sampler(steps="karras:n=3")
        .run(with_backend(ed.load(model), backend, batch_sizes=[4]), range(20), batch_size=4)
        .x
    )
    expected = evaluator.values(np.asarray(evaluator.features(x)))
    ((key, value),) = results(tmp_path).items()
    assert float(value) == pytest.approx(expected[key[3]], rel=1e-9)


def start(words: Sequence[str | Path]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "elucidiff.cli.main", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["training", "sampling"])
def test_killed_at_random(elucidiff: Run, pictures: str, tmp_path: Path, table: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    tiny_recipe(pictures).save(recipe)
    words: tuple[str | Path, ...] = (recipe, "--only=a,f", "--seeds=2", "--images=40", "--nfe=9")
    if table == "sampling":
        words = ("ideal", "--data", pictures, "--nfe=35,55", "--images=256", "--exact-images=8")
    command = ("ablate", table, *words, "--extractor=pca-3", "--device=cpu", "--out")
    whole = elucidiff(*command, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    out, chance = tmp_path / "killed", random.Random(1)
    for kill in range(3):
        process = start((*command, out))
        while not (out / "results.csv").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 1.0))
        process.send_signal(signal.SIGKILL if kill % 2 else signal.SIGTERM)
        _, said = process.communicate(timeout=300)
        assert process.returncode in (0, -signal.SIGTERM, -signal.SIGKILL), (kill, process.returncode, said)
    done = elucidiff(*command, out)
    assert done.returncode == 0, done.stderr
    assert results(out) == results(tmp_path / "whole")
    assert (out / "table.md").read_text() == (tmp_path / "whole" / "table.md").read_text()


def tiny_recipe(data: str) -> TrainingConfig:
    last = RECIPES["digits"]
    return dataclasses.replace(
        last,
        data=data,
        network=dataclasses.replace(last.network, base_channels=4, attention_resolutions=()),
        validation_images=10,
        duration_images=320,
        batch_size=16,
        log_images=64,
        checkpoint_images=64,
    )


def test_bad_input(elucidiff: Run, model: Path, blurs: Path, pictures: str, tmp_path: Path) -> None:
    def says(*words: str | Path) -> str:
        return refused(elucidiff, "ablate", *words)

    out = tmp_path / "out"
    sampling = ("sampling", model, "--data", blurs, "--out", out, *QUICK)
    assert "unknown table 'chrun'; did you mean 'churn'" in says("chrun")
    assert "'emd' is unknown; did you mean 'edm'" in says(*sampling, "--only=vp,emd")
    assert "--nfe is '5;9'" in says(*sampling, "--nfe=5;9")
    assert "budget of 2" in says(*sampling, "--nfe=2")
    assert "name the data that it was trained on" in says("sampling", model, "--data", pictures, "--out", out)
    assert "does not tell what data it is of" in says("sampling", model, "--out", out)
    assert "name one as data" in says("sampling", "ideal", "--out", out)
    assert "is for networks" in says("sampling", "ideal", "--data", blurs, "--backend=onnx", "--out", out)
    assert "S_noise is 1" in says(
        "churn", model, "--data", blurs, "--churn=30,sigma_min=0.05,sigma_max=1", "--out", out
    )
    assert "alphas" in says("alpha", model, "--data", blurs, "--alphas=1,1", "--out", out)
    assert "unknown recipe 'digit'; did you mean 'digits'" in says("training", "digit")
    assert "p is 0" in says("augment", "--p=0")
    assert not out.exists()

    assert elucidiff("ablate", *sampling, "--only=edm").returncode == 0
    assert "images is 20, not 24" in says(*sampling, "--images=24")
    assert "kind is sampling, not alpha" in says("alpha", *sampling[1:])
    assert "backend is eager, not onnx" in says(*sampling, "--backend=onnx")
    (out / "results.csv").write_text("configuration,value\nedm,1\n")
    assert "is no table of results" in says(*sampling)
    (out / "ablation.json").write_text(json.dumps({"kind": "sampling"}))
    assert "is damaged" in says(*sampling)
