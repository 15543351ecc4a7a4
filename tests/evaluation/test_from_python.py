"""Verbs from Python: evaluations, curves, ablations and sampling jobs in one call each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elucidiff as ed
from elucidiff.data.scaling import to_uint8
from elucidiff.evaluation.ablation import ablate_sampling, alpha_table
from elucidiff.evaluation.curve import measure_curve
from elucidiff.evaluation.quality.evaluation import evaluate
from elucidiff.launch.interrupt import StoppedError, Watch
from elucidiff.sampling.jobs import draw_samples

SAMPLER = "heun steps=karras:n=3"


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELUCIDIFF_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = ed.networks.UNet(
        (1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=()
    )
    path = tmp_path_factory.mktemp("model") / "model"
    ed.Denoiser(network, ed.preconditioning.EDM()).save(path)
    return path


@pytest.fixture
def digits() -> str:
    np.savez("real.npz", images=ed.data.open("digits").images(range(120)).numpy())
    return "real.npz"


def test_a_denoiser_and_its_folder_are_evaluated_alike(model: Path, digits: str) -> None:
    settings = {"extractor": "pca-5", "sampler": SAMPLER, "seeds": range(7, 47), "device": "cpu"}
    of_folder = evaluate(model, digits, **settings, out="kept")
    assert evaluate(ed.load(model), ed.data.open(digits), **settings)["fid"] == of_folder["fid"]
    assert of_folder.nfe == 5
    drawn = ed.Sampler.parse(SAMPLER).run(ed.load(model), range(7, 47))
    np.savez("fake.npz", images=to_uint8(drawn.x).numpy())
    assert evaluate("fake.npz", digits, extractor="pca-5")["fid"].value == pytest.approx(of_folder["fid"].value)
    assert Path("kept/results.md").read_text() == of_folder.to_markdown()


def test_a_watch_ends_an_evaluation_that_goes_on_later(model: Path, digits: str) -> None:
    class Impatient(Watch):
        asked = 0

        def stop_if_asked(self) -> None:
            self.asked += 1
            if self.asked > 5:
                raise StoppedError

    settings = {"extractor": "pca-5", "sampler": SAMPLER, "seeds": "0-199", "device": "cpu", "out": "kept"}
    with pytest.raises(StoppedError):
        evaluate(model, digits, **settings, watch=Impatient())
    assert not Path("kept/results.json").exists()
    whole = evaluate(model, digits, **{**settings, "out": None})
    assert evaluate(model, digits, **settings).quality == whole.quality


def test_samples_of_a_job_are_those_of_the_sampler(model: Path) -> None:
    outcome = draw_samples(model, "drawn", range(3, 9), sampler=SAMPLER, device="cpu")
    assert outcome is not None
    assert (outcome.done, outcome.nfe) == (6, 5)
    expected = to_uint8(ed.Sampler.parse(SAMPLER).run(ed.load(model), range(3, 9)).x)
    for seed, image in zip(range(3, 9), expected, strict=True):
        with Image.open(f"drawn/{seed:08d}.png") as file:
            np.testing.assert_array_equal(np.asarray(file), image[0].numpy())


def test_a_table_and_a_curve_agree_where_they_measure_the_same(digits: str) -> None:
    few = {"images": 8, "exact_images": 4, "blocks": 2}
    table = ablate_sampling("ideal", digits, alpha_table([1.0]), nfe=[7], extractor="none", device="cpu", **few)
    curve = measure_curve("ideal", digits, nfe=[7], metrics="truncation_error", device="cpu", **few)
    errors = [[row.value for row in measured.rows] for measured in (table, curve)]
    assert len(errors[0]) == 2
    assert errors[0] == pytest.approx(errors[1], rel=1e-6)
    assert (
        measure_curve("ideal", digits, nfe=[7], metrics="truncation_error", device="cpu", **few).to_markdown()
        == curve.to_markdown()
    )
