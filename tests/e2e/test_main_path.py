"""Train, sample and draw through the command line, as a user would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import elucidiff as ed
from tests.e2e.conftest import TINY, Run


def test_a_run_folder_is_complete(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 10
    assert losses[-1] < 0.9 * losses[0]
    assert sorted(path.name for path in (trained / "samples").iterdir()) == ["000000000320.png", "000000000640.png"]
    assert ed.load(trained / "model").label_dim == 10
    assert list(trained.glob("events.out.tfevents.*"))


def test_samples_images_and_record_agree(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    words = ("--seeds", "3-8", "--labels", "0-2", "--n", "5", "--grid", "--batch-size", "4")
    done = elucidiff("sample", trained / "model", "--out", tmp_path / "out", *words)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert [entry["seed"] for entry in record["samples"]] == [3, 4, 5, 6, 7, 8]
    assert [entry["label"] for entry in record["samples"]] == [0, 1, 2, 0, 1, 2]
    assert [entry["nfe"] for entry in record["samples"]] == [9] * 6
    assert record["sampler"]["solver"] == {"type": "heun"}
    np.testing.assert_allclose(record["sigmas"], ed.steps.karras(5))
    expected = ed.Sampler(steps="karras:n=5").run(ed.load(trained / "model"), [5], 2, batch_size=4)
    with Image.open(tmp_path / "out" / "00000005.png") as image:
        np.testing.assert_array_equal(np.asarray(image), ed.sampling.to_uint8(expected.x)[0, 0].numpy())
    with Image.open(tmp_path / "out" / "grid.png") as image:
        assert image.size == (3 * 64 + 2 * 8, 2 * 64 + 8)  # 8 times as wide, with gaps

    again = elucidiff("sample", trained / "model", "--out", tmp_path / "out", *words)
    assert again.returncode == 2
    assert "already holds files" in again.stderr


@pytest.mark.parametrize(
    ("flags", "nfe", "solver", "steps", "schedule"),
    [
        (("--table", "vp"), 6, "euler", "vp", "vp_fitted"),
        (("--table", "ve", "--solver", "heun"), 11, "heun", "ve", "ve"),
        (("--table", "iddpm"), 6, "euler", "iddpm", "edm"),
        (("--churn", "3,noise_scale=1.01"), 11, "heun", "karras", "edm"),
        (("--solver", "rk2:alpha=0.5", "--schedule", "flow"), 11, "rk2", "karras", "flow"),
    ],
)
def test_every_design_choice_is_a_flag(
    elucidiff: Run,
    trained: Path,
    tmp_path: Path,
    flags: tuple[str, ...],
    nfe: int,
    solver: str,
    steps: str,
    schedule: str,
) -> None:
    done = elucidiff("sample", trained / "model", "--seeds", "0-1", "--n", "6", "--out", tmp_path / "o", *flags)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "o" / "samples.json").read_text())
    chosen = record["sampler"]
    assert [chosen[name]["type"] for name in ("solver", "steps", "schedule")] == [solver, steps, schedule]
    assert record["nfe"]["per_sample_mean"] == nfe


def test_figures(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    sampled = elucidiff("sample", trained / "model", "--seeds", "0-3", "--n", "3", "--out", tmp_path / "samples")
    assert sampled.returncode == 0, sampled.stderr
    for words in (
        ("trajectory", trained / "model", "--n", "4", "--seeds", "0-1"),
        ("steps", "--steps", "karras:rho=3", "log_uniform"),
        ("steps",),
        ("grid", tmp_path / "samples"),
    ):
        done = elucidiff("figure", *words, "--out", tmp_path / "figure.png")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(tmp_path / "figure.png"), str(tmp_path / "figure.svg")]
        with Image.open(tmp_path / "figure.png") as image:
            assert np.asarray(image.convert("L")).std() > 5  # something is drawn


def test_resume_goes_on_and_a_second_start_is_refused(elucidiff: Run, tmp_path: Path) -> None:
    assert elucidiff("train", "digits", "--run-dir", tmp_path / "r", *TINY).returncode == 0
    refused = elucidiff("train", "digits", "--run-dir", tmp_path / "r", *TINY)
    assert refused.returncode == 2
    assert "holds a run already" in refused.stderr
    longer = [flag for flag in TINY if not flag.startswith("--duration")]
    more = elucidiff("train", "digits", "--run-dir", tmp_path / "r", *longer, "--duration-images=704", "--resume")
    assert more.returncode == 0, more.stderr
    last = json.loads((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["images"] == 704


def test_another_width_of_averaging_after_the_training(elucidiff: Run, tmp_path: Path) -> None:
    run = tmp_path / "r"
    assert elucidiff("train", "digits", "--run-dir", run, *TINY, "--ema-widths", "0.05", "0.1").returncode == 0
    done = elucidiff("ema", run, "--width", "0.1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(run / "model-0.1")
    assert ed.load(run / "model-0.1").facts["provenance"]["ema_width"] == 0.1
    refused = elucidiff("ema", run, "--width", "0.1")
    assert refused.returncode == 2
    assert "is there already" in refused.stderr


@pytest.mark.slow
def test_the_demo_writes_a_report_from_its_own_numbers(elucidiff: Run, tmp_path: Path) -> None:
    done = elucidiff("demo", "--out", tmp_path / "demo", *[flag.replace("=100", "=120") for flag in TINY])
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert f"{results['quality']['accuracy']:.1%}" in page
    assert f"{results['real']['frechet']:.3f}" in page
    assert page.count("data:image/png;base64,") == 6
    assert results["budget"]["nfe"] == [3, 7, 15, 35, 127]
    assert results["sampling"]["nfe"] == 35
    rms = results["budget"]["rms"]
    assert rms == sorted(rms, reverse=True)
