"""``elucidiff steps``: samplers are made, used, measured again, and refused, all by the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import Run
from tests.e2e.test_bad_input import refused
from tests.sampling.tiny_model import save_tiny_model

QUICK = ("--seeds=100-101", "--fresh-seeds=200-201", "--batch-size=2", "--device=cpu")


@pytest.fixture(scope="module")
def model(elucidiff: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the sampler nfe-5."""
    folder = save_tiny_model(tmp_path_factory.mktemp("steps") / "model")
    done = elucidiff("steps", "optimise", folder, "--nfe=5", "--solver=dpmpp_2m", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "nfe-5: dpmpp_2m, 5 evaluations, error " in done.stdout
    assert f"nfe-5: kept as {folder / 'samplers' / 'nfe-5.json'}" in done.stdout
    return folder


def test_what_is_kept_is_what_is_used(elucidiff: Run, model: Path, tmp_path: Path) -> None:
    kept = json.loads((model / "samplers" / "nfe-5.json").read_text())
    assert kept["error"] < kept["baseline_error"]
    assert (kept["seeds"], kept["warm_up_seeds"], kept["nfe"]) == ("200-201", "100-101", 5)
    assert kept["command"].startswith("elucidiff steps optimise ")
    done = elucidiff("sample", model, "--sampler=nfe-5", "--seeds=0-3", "--processes=1", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert record["sigmas"] == kept["sampler"]["steps"]["levels"]
    assert [entry["nfe"] for entry in record["samples"]] == [5] * 4


def test_the_papers_own_sampler_is_only_measured(elucidiff: Run, model: Path) -> None:
    done = elucidiff("steps", "optimise", model, "--named=default", *QUICK)
    assert done.returncode == 0, done.stderr
    kept = json.loads((model / "samplers" / "default.json").read_text())
    assert (kept["sampler"]["solver"], kept["sampler"]["steps"]["n"], kept["nfe"]) == ({"type": "heun"}, 18, 35)
    assert kept["warm_up_seeds"] is None
    assert kept["error"] >= kept["baseline_error"]


def test_other_weights(elucidiff: Run, model: Path, tmp_path: Path) -> None:
    other = tmp_path / "model"
    shutil.copytree(model, other)
    facts = json.loads((other / "model.json").read_text())
    facts["preconditioning"]["sigma_data"] *= 1.01  # as good as other weights
    (other / "model.json").write_text(json.dumps(facts))
    sample = ("sample", other, "--sampler=nfe-5", "--seeds=0", "--processes=1", "--out", tmp_path / "out")
    assert "was made for other weights" in refused(elucidiff, *sample)
    assert not (tmp_path / "out").exists()
    assert elucidiff(*sample, "--any-model").returncode == 0
    seeds = ("--seeds=300-301", "--batch-size=2", "--device=cpu")
    done = elucidiff("steps", "measure", other, "--samplers=nfe-5", *seeds)
    assert done.returncode == 0, done.stderr
    assert elucidiff(*sample, "--overwrite").returncode == 0
    kept = json.loads((other / "samplers" / "nfe-5.json").read_text())
    assert (kept["seeds"], kept["warm_up_seeds"]) == ("300-301", "100-101")
    theirs = model / "samplers" / "nfe-5.json"
    line = refused(elucidiff, "steps", "measure", other, "--samplers", theirs, *seeds)
    assert "has its own sampler 'nfe-5': rename or remove" in line
    assert json.loads((other / "samplers" / "nfe-5.json").read_text()) == kept


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("optimise",), "say what for: --nfe 8 for one sampler, or --named"),
        (("optimise", "--nfe=5", "--named=fast"), "say what for"),
        (("optimise", "--nfe=0"), "a budget of 0 network evaluations is none"),
        (("optimise", "--nfe=2", "--solver=heun"), "Heun needs at least 3"),
        (("optimise", "--nfe=5"), "has a sampler 'nfe-5' already: choose another, or add --overwrite"),
        (("optimise", "--nfe=6", "--name=a/b"), "'a/b' cannot name a sampler"),
        (("optimise", "--named=fats"), "'fats' is none of them; did you mean 'fast'?"),
        (("optimise", "--named=fast", "--name=x"), "--name goes with --nfe"),
        (("optimise", "--nfe=6", "--solver=rk45"), "solver rk45 chooses its own steps"),
        (("optimise", "--nfe=6", "--solver=er_sde"), "solver er_sde adds noise"),
        (("optimise", "--nfe=6", "--solver=heun:order=2"), "solver heun has no settings, but 'order' is set"),
        (("optimise", "--nfe=6", "--solver=ipndm:order=9"), "order of ipndm is 9, but must be 1, 2, 3 or 4"),
        (("optimise", "--nfe=6", "--fresh-seeds=1000010"), "seed 1000010 is both for the optimisation"),
        (("optimise", "--nfe=6", "--max-minutes=0"), "--max-minutes is 0, but must be positive"),
        (("measure", "--seeds=100"), "seed 100 is both for the optimisation and for the validation"),
        (("measure", "--samplers=nfe5"), "did you mean 'nfe-5'?"),
    ],
)
def test_mistakes(elucidiff: Run, model: Path, words: tuple[str, ...], says: str) -> None:
    assert says in refused(elucidiff, "steps", words[0], model, *words[1:])


def test_mistakes_in_sampling_with_a_name(elucidiff: Run, model: Path, tmp_path: Path) -> None:
    bare = save_tiny_model(tmp_path / "bare")
    out = ("--out", tmp_path / "out")
    assert "did you mean 'nfe-5'?" in refused(elucidiff, "sample", model, "--sampler=nfe5", *out)
    assert "has no samplers yet" in refused(elucidiff, "sample", bare, "--sampler=fast", *out)
    assert "--steps would have no effect with --sampler" in refused(
        elucidiff, "sample", model, "--sampler=nfe-5", "--steps=karras:rho=3", *out
    )
    assert "--any-model would have no effect" in refused(elucidiff, "sample", model, "--any-model", *out)
    assert "unknown action 'optimize'; did you mean 'optimise'?" in refused(elucidiff, "steps", "optimize", model)
    assert not (tmp_path / "out").exists()
