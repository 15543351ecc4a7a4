"""``elucidiff tune``: a model is tuned, its samplers are kept and used, and what rests on an ODE is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import elucidiff as ed
from elucidiff.denoisers.model_folder import checksum
from tests.e2e.conftest import TINY, Run
from tests.e2e.test_bad_input import refused
from tests.sampling.tiny_model import save_tiny_model

QUICK = ("--minutes=0.05", "--device=cpu", "--no-report", "--memorisation-samples=0", "--duration-images=960")


@pytest.fixture(scope="module")
def original(elucidiff: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("original") / "run"
    done = elucidiff("train", "digits", *TINY, "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    return run_dir / "model"


@pytest.mark.slow
def test_a_tuned_model_and_its_samplers(elucidiff: Run, original: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "few"
    done = elucidiff("tune", original, *QUICK, "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    assert "begun with 100% of the weights" in done.stderr
    model = run_dir / "model"
    for name, nfe in (("one", 1), ("two", 2), ("four", 4)):
        kept = json.loads((model / "samplers" / f"{name}.json").read_text())
        assert (kept["nfe"], kept["sampler"]["solver"], kept["sampler"]["steps"]["n"]) == (
            nfe, {"type": "consistency"}, nfe,
        )  # fmt: skip
        assert kept["model"] == checksum(model)
        quality = kept["quality"]
        assert (quality["metric"], quality["blocks"]) == ("fid, pca-20, digits", 4)
        # Nothing that was learned so briefly is as good as digits are among themselves, nor as bad as noise.
        assert 0.1 < quality["value"] < 200
        drawn = elucidiff(
            "sample", model, f"--sampler={name}", "--seeds=0-3", "--processes=1", "--out", tmp_path / name
        )
        assert drawn.returncode == 0, drawn.stderr
        record = json.loads((tmp_path / name / "samples.json").read_text())
        assert [entry["nfe"] for entry in record["samples"]] == [nfe] * 4
    # Where nobody chooses it is two evaluations.
    drawn = elucidiff("sample", model, "--seeds=0-3", "--processes=1", "--out", tmp_path / "usual")
    assert drawn.returncode == 0, drawn.stderr
    record = json.loads((tmp_path / "usual" / "samples.json").read_text())
    assert [entry["nfe"] for entry in record["samples"]] == [2] * 4
    # The run is done, and so are its samplers: the same command with --resume changes nothing.
    before = (model / "samplers" / "two.json").stat().st_mtime_ns
    assert elucidiff("tune", original, *QUICK, "--run-dir", run_dir, "--resume").returncode == 0
    assert (model / "samplers" / "two.json").stat().st_mtime_ns == before
    for words in (
        ("likelihood", model, "digits", "--images=2", f"--out={tmp_path / 'likelihood.json'}"),
        ("steps", "optimise", model, "--nfe=5"),
        ("interpolate", model, "--seeds=0-1", "--out", tmp_path / "way"),
    ):
        line = refused(elucidiff, *words, "--device=cpu")
        assert "was tuned for few evaluations, so it has no ODE" in line
        assert str(original) in line
    way = elucidiff("interpolate", model, "--seeds=0-1", "--frames=3", "--n=1", "--out", tmp_path / "way")
    assert way.returncode == 0, way.stderr


@pytest.mark.slow
def test_levels_of_a_tuned_model_are_found_by_a_search(elucidiff: Run, original: Path, tmp_path: Path) -> None:
    config = ed.training.TrainingConfig.load(original.parent / "config.yaml").with_settings(
        {"start_from": str(original), "objective": ed.objectives.Consistency(), "duration_images": 64}
    )
    ed.training.train(config, tmp_path / "run")
    done = elucidiff(
        "search", tmp_path / "run" / "model", "--over", "steps.sigma_min=0.3:4:log", "--metric=fid",
        "--extractor=pca-5", "--trials=2", "--seeds=100-163", "--fresh-seeds=200-327", "--device=cpu",
        "--out", tmp_path / "search",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--minutes=1",), "name the model first"),
        (("nowhere",), "nowhere"),
        (("MODEL",), "does not say what it was trained on: name the data with --data"),
        (("MODEL", "--data=digits", "--objective=edm"), "that of --method"),
    ],
)
def test_mistakes(elucidiff: Run, tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    model = str(save_tiny_model(tmp_path / "model"))
    run = ("--run-dir", str(tmp_path / "run"), "--device=cpu")
    assert says in refused(elucidiff, "tune", *(word.replace("MODEL", model) for word in words), *run)
    assert not (tmp_path / "run").exists()
