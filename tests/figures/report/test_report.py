"""A report shows what is in a folder, with its figures' numbers in words, and says what it could not show."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elucidiff.design import schedules
from elucidiff.evaluation.results import write_results
from elucidiff.figures import curvature
from elucidiff.figures.curvature import paths
from elucidiff.figures.report import find, write_report
from elucidiff.training import TrainingConfig
from tests.figures.rows import CURVES, measured, trial

LINES = [
    {"images": 100, "step": 1, "seconds": 30.0, "loss": 0.9, "loss_by_sigma": {"0.1": 1.0, "1": 0.5}},
    {"images": 200, "step": 2, "seconds": 60.0, "loss": 0.5, "loss_by_sigma": {"0.1": 0.9, "1": 0.4}},
    {"images": 200, "step": 2, "validation_loss": 0.625, "memorised_fraction": 0.25, "memorised_fraction_real": 0.0},
]


def save_run(folder: Path) -> None:
    folder.mkdir(parents=True)
    TrainingConfig(data="digits").save(folder / "config.yaml")
    text = "".join(json.dumps(line) + "\n" for line in LINES)
    (folder / "metrics.jsonl").write_text(text + '{"images": 300, "lo')  # still on its way


def report(folder: Path) -> tuple[str, list[str]]:
    page, problems = write_report(folder, folder / "r.html")
    return page.read_text(encoding="utf-8"), problems


def titles(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def test_a_training_run(tmp_path: Path) -> None:
    save_run(tmp_path / "run")
    page, problems = report(tmp_path / "run")
    assert titles(page) == ["Training", "Loss by noise level in training"]
    assert "after 200 images it is 0.5." in page
    assert "it was lowest after 200 images, with 0.625" in page
    assert "Of the last samples 25% copy training images; of real images 0% would." in page
    assert "200 images in 1.0 minutes" in page
    assert "1 training run. Each figure" in page
    assert problems == []


def test_tables_numbers_and_samples_however_deep(tmp_path: Path) -> None:
    write_results(tmp_path / "a" / "curve", CURVES)
    rows = [trial(k, 1.0 + k, churn=10.0 * k, churn_sigma_min=0.1 * k) for k in range(14)]
    write_results(tmp_path / "search", [*rows, *measured("before", 8, 7, (5.0, 7.0), experiment="search")])
    kept = curvature.numbers(
        {"EDM": [paths(schedules.EDM(), sigma_max=top, resolution=9) for top in (9.0, 1.0)]}, "it"
    )
    kept.save(tmp_path / "b" / "c" / "figure.npz")
    np.savez(tmp_path / "b" / "data.npz", images=np.zeros((2, 1, 2, 2), np.uint8))
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "b" / "0.png")
    record = {"samples": [{"file": "0.png"}], "nfe": {"per_sample_mean": 35.0}}
    (tmp_path / "b" / "samples.json").write_text(json.dumps(record))
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "results.csv").write_text("no table")

    page, problems = report(tmp_path)
    assert problems == []
    assert titles(page) == [
        "Samples: b",
        "How much the ODE bends",
        "Quality against evaluations: Frechet distance (pca-20) in a/curve",
        "Search: Frechet distance (pca-20) in search",
    ]
    assert "1 folder of samples, 1 measured figure and 2 tables of results." in page
    assert "Each took 35 network evaluations" in page
    assert f"{kept.facts['turning']['EDM'][0]:.0f}° with EDM" in page
    # Means with standard errors, the best of each budget bold, what does not differ significantly marked.
    assert "<td>heun</td><td>5.0 ± 1.0 ≈</td><td><strong>1.00 ± 0.00</strong></td>" in page
    assert "<td>dpmpp_2m</td><td><strong>2.00 ± 0.00</strong></td><td>–</td>" in page
    assert "<td>before, fresh seeds</td><td>6.0 ± 1.0</td>" in page
    assert re.findall(r"<td>(trial \d+)</td>", page) == [f"trial {k}" for k in range(12)]
    assert "elucidiff figure churn-heat-map" in page


def test_trainings_of_an_ablation_are_told_by_its_table(tmp_path: Path) -> None:
    save_run(tmp_path / "ablation" / "d-seed-0")
    save_run(tmp_path / "run")
    write_results(tmp_path / "ablation", measured("d", 8, 7, (1.0,), experiment="training"))
    write_results(tmp_path / "run", CURVES)  # a run with measurements of its own is still a run
    found = find(tmp_path)
    assert found.runs == (tmp_path / "run",)
    assert found.tables == (tmp_path / "ablation", tmp_path / "run")


def test_damaged_things_are_named_and_left_out(tmp_path: Path) -> None:
    save_run(tmp_path / "good")
    save_run(tmp_path / "bad")
    (tmp_path / "bad" / "metrics.jsonl").write_text("")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "results.csv").write_text("experiment,value\n")
    np.savez(tmp_path / "n.npz", about=np.array("{}"))
    page, problems = report(tmp_path)
    assert titles(page) == ["Training: good", "Loss by noise level in training: good"]
    assert [problem.split(" is left out: ")[0] for problem in problems] == [
        str(tmp_path / "bad"), str(tmp_path / "n.npz"), str(tmp_path / "t"),
    ]  # fmt: skip
    assert "'configuration' is missing" in problems[2]


def test_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds nothing to report on"):
        report(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        write_report(tmp_path / "absent", tmp_path / "r.html")
    (tmp_path / "results.csv").write_text("")
    with pytest.raises(ValueError, match=r"results.csv is no table"):
        report(tmp_path)
    assert not (tmp_path / "r.html").exists()
