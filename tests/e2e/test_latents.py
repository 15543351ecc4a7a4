"""From pictures through latents to pictures again, by every verb."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import elucidiff as ed
from elucidiff.cli.main import main
from tests.interop.autoencoders.made import decoder, encoder, write_pair

SMALL = "mp_unet:base_channels=4,channel_multipliers=1,blocks_per_level=1,attention_resolutions="
SHORT = [
    "--duration-images=64", "--batch-size=16", "--log-images=32", "--checkpoint-images=64",
    "--memorisation-samples=2", "--device=cpu", "--compile=off", "--no-report", f"--network={SMALL}",
]  # fmt: skip
QUICK = ["--n=2", "--batch-size=2", "--device=cpu", "--backend=eager"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, their latents and a model of these."""
    home = tmp_path_factory.mktemp("latents")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 3, 16, 16), np.uint8)
    np.savez(home / "pictures.npz", images=pixels)
    write_pair(home / "pair")
    latents = str(home / "latents")
    assert main(["data", "import", str(home / "pictures.npz"), latents, "--encode", str(home / "pair")]) == 0
    assert main(["train", latents, "--minutes=1", f"--run-dir={home / 'run'}", *SHORT]) == 0
    shutil.rmtree(home / "pair")  # the set and the model have it
    shutil.rmtree(home / "latents" / "autoencoder")
    return home


def _decoded(latents: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(decoder().SerializeToString())
    found: np.ndarray = session.run(None, {"latent": latents.astype(np.float32)})[0]
    return found


def _pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image).transpose(2, 0, 1)


def test_training_sees_latents_of_unit_variance(made: Path) -> None:
    stored = np.load(made / "latents" / "images.npy").astype(np.float64)
    facts = ed.load(made / "run" / "model").facts["data"]
    assert facts["scaling"]["type"] == "latent"
    np.testing.assert_allclose(facts["scaling"]["means"], stored.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(facts["scaling"]["stds"], stored.std((0, 2, 3)), rtol=1e-6)
    assert facts["sigma_data"] == pytest.approx(1, abs=1e-3)
    config = ed.training.TrainingConfig.load(made / "run" / "config.yaml")
    assert config.sigma_data == pytest.approx(1, abs=0.01)
    assert sorted(file.name for file in (made / "run" / "model" / "autoencoder").iterdir()) == [
        "decoder.onnx",
        "encoder.onnx",
    ]
    [preview] = (made / "run" / "samples").glob("*64.png")
    with Image.open(preview) as sheet:
        assert sheet.mode == "RGB"


def test_samples_are_what_the_decoder_makes_of_the_latents_of_the_same_seeds(made: Path, tmp_path: Path) -> None:
    model = str(made / "run" / "model")
    assert main(["sample", model, "--seeds=0-4", f"--out={tmp_path / 'a'}", "--grid", *QUICK]) == 0
    assert main(["sample", model, "--seeds=0-4", f"--out={tmp_path / 'b'}", "--latents", *QUICK]) == 0
    assert main(["sample", model, "--seeds=3", f"--out={tmp_path / 'c'}", *QUICK]) == 0
    latents = np.stack([np.load(tmp_path / "b" / f"{seed:08d}.npy") for seed in range(5)])
    expected = (_decoded(latents) * 255 + 0.5).clip(0, 255).astype(np.uint8)
    shown = np.stack([_pixels(tmp_path / "a" / f"{seed:08d}.png") for seed in range(5)])
    assert np.abs(shown.astype(int) - expected).max() <= 1  # where rounding decides
    assert (shown != expected).mean() < 0.01
    assert np.array_equal(_pixels(tmp_path / "c" / "00000003.png"), shown[3])
    assert "autoencoder's own units" in json.loads((tmp_path / "b" / "samples.json").read_text())["values"]


def test_pictures_stay_the_reference_of_evaluations(made: Path, tmp_path: Path) -> None:
    flags = ["--extractor=pca-5", "--metrics=fid", "--device=cpu", f"--cache={tmp_path / 'cache'}"]
    of_model = [str(made / "run" / "model"), "--seeds=0-39", "--n=2"]
    values = {}
    for name in ("latents", "pictures.npz"):
        out = tmp_path / f"evaluation-{name}"
        assert main(["evaluate", of_model[0], str(made / name), *of_model[1:], f"--out={out}", *flags]) == 0
        values[name] = json.loads((out / "results.json").read_text())["metrics"]
    assert values["latents"] == values["pictures.npz"]


def test_a_picture_to_begin_at_is_encoded(made: Path, tmp_path: Path) -> None:
    picture = np.load(made / "pictures.npz")["images"][7]
    Image.fromarray(picture.transpose(1, 2, 0)).save(tmp_path / "seven.png")
    denoiser = ed.load(made / "run" / "model")
    from elucidiff.sampling.given import read_given

    found = read_given(tmp_path / "seven.png", denoiser)
    z = onnxruntime.InferenceSession(encoder().SerializeToString()).run(
        None, {"image": picture[None] / np.float32(255)}
    )
    scaling = denoiser.facts["data"]["scaling"]
    means, stds = (np.array(scaling[name])[:, None, None] for name in ("means", "stds"))
    np.testing.assert_allclose(found.numpy(), (z[0][0] - means) / stds, atol=1e-5)
    given = [f"--init={tmp_path / 'seven.png'}", "--strength=0.5", "--seeds=0,1", f"--out={tmp_path / 'out'}", *QUICK]
    assert main(["sample", str(made / "run" / "model"), *given]) == 0
    assert _pixels(tmp_path / "out" / "00000000.png").shape == (3, 16, 16)
    Image.fromarray(picture.transpose(1, 2, 0)[:8, :8]).save(tmp_path / "small.png")
    assert main(["sample", str(made / "run" / "model"), f"--init={tmp_path / 'small.png'}", "--out=x", *QUICK]) == 2


def test_other_verbs(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, latents = str(made / "run" / "model"), str(made / "latents")
    for name in ("one", "two"):
        Image.fromarray(np.full((16, 16, 3), 90 if name == "one" else 160, np.uint8)).save(tmp_path / f"{name}.png")
    ends = ["--images", str(tmp_path / "one.png"), str(tmp_path / "two.png"), "--frames=3", "--device=cpu"]
    assert main(["interpolate", model, *ends, f"--out={tmp_path / 'between'}", "--solver=heun", "--n=2"]) == 0
    assert _pixels(tmp_path / "between" / "0001.png").shape == (3, 16, 16)
    assert main(["data", "inspect", latents, f"--out={tmp_path / 'inspected'}"]) == 0
    report = json.loads((tmp_path / "inspected" / "report.json").read_text())
    assert report["sigma_data"] == pytest.approx(1, abs=1e-6)
    assert "the pictures that the latents were made of" in capsys.readouterr().out
    with Image.open(tmp_path / "inspected" / "contact-sheet.png") as sheet:
        assert np.ptp(np.asarray(sheet.convert("RGB")).astype(int), axis=2).max() > 100  # colours
    assert main(["restore", model, str(tmp_path / "one.png"), "--upscale=2", f"--out={tmp_path / 'r'}"]) == 2
    line = capsys.readouterr().err.strip()
    assert "makes latents" in line
    assert "\n" not in line


def test_studies_compare_pictures(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, latents = str(made / "run" / "model"), str(made / "latents")
    common = ["--metrics=fid", "--extractor=pca-5", "--device=cpu", f"--cache={tmp_path / 'cache'}"]
    curve = ["--nfe=3", "--images=30", "--blocks=1", "--solvers", "euler", f"--out={tmp_path / 'curve'}"]
    assert main(["curve", model, latents, *curve, *common]) == 0
    [value] = re.findall(r"karras rho 7` \| ([\d.]+) \|", capsys.readouterr().out)
    once = ["--seeds=0-29", "--solver=euler", "--n=3", f"--out={tmp_path / 'evaluation'}"]
    assert main(["evaluate", model, latents, *once, *common]) == 0
    found = json.loads((tmp_path / "evaluation" / "results.json").read_text())["metrics"]["fid"]["value"]
    assert float(value) == pytest.approx(found, rel=0.01)


def test_what_is_missing_is_said_before_work_starts(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(made / "run" / "model", model)
    shutil.copy(write_pair(tmp_path / "other", seed=3) / "decoder.onnx", model / "autoencoder" / "decoder.onnx")
    assert main(["sample", str(model), f"--out={tmp_path / 'out'}", *QUICK]) == 2
    assert "is another autoencoder than the one of these latents" in capsys.readouterr().err
    shutil.rmtree(model / "autoencoder")
    assert main(["sample", str(model), f"--out={tmp_path / 'out'}", *QUICK]) == 2
    assert "the autoencoder of these latents is not at" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["sample", str(model), "--latents", "--seeds=0", f"--out={tmp_path / 'out'}", *QUICK]) == 0


def test_the_report_of_a_run_shows_pictures(made: Path) -> None:
    from elucidiff.evaluation.run_quality import measure_run

    found = measure_run(made / "run", count=40)
    assert found.samples.shape[1:] == (3, 16, 16)
    assert found.nearest.dtype == np.uint8
    assert found.facts["metrics"]["fid"]["images"] == 40


def test_a_model_that_is_saved_again_takes_it_along(made: Path, tmp_path: Path) -> None:
    ed.load(made / "run" / "model").save(tmp_path / "again")
    shutil.move(tmp_path / "again", tmp_path / "moved")
    model = ed.load(tmp_path / "moved")
    x = torch.zeros(1, 4, 4, 4)
    assert ed.data.scaling_of(model).to_data(x).shape == (1, 3, 16, 16)
    assert str(tmp_path / "moved") in json.dumps(model.facts["data"]["scaling"])
