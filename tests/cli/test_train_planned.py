"""``elucidiff train DATA``: planned, printed, trained, repeated, resumed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import elucidiff as ed
from elucidiff.cli import train
from elucidiff.cli.main import main
from elucidiff.data import Standard
from elucidiff.networks import MPUNetSettings
from elucidiff.training import TrainingConfig
from elucidiff.training.planning import choosing

SHORT = (
    "--duration-images=96", "--batch-size=32", "--log-images=32", "--memorisation-samples=4", "--device=cpu",
    "--compile=off",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with ``blobs.npz``, 60 pictures of two classes."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    classes = np.arange(60) % 2
    images = random.integers(0, 128, (60, 1, 8, 8)) + 127 * classes[:, None, None, None]
    np.savez("blobs.npz", images=images.astype(np.uint8), labels=classes)
    monkeypatch.setattr(choosing, "networks_for", lambda shape: iter([SMALL]))
    return tmp_path


SMALL = MPUNetSettings(8, (1, 2), 1, (4,), dropout=0.0)


def test_one_command_and_its_config(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "blobs.npz", "--minutes", "5", *SHORT, "--lr", "0.01"]) == 0
    said = capsys.readouterr()
    for word in ("network", "noise", "batch", "augmentation", "as it was given", "60 pictures are too few"):
        assert word in said.out
    config = TrainingConfig.load("runs/blobs/config.yaml")
    assert (config.data, config.network, config.conditional) == ("blobs.npz", SMALL, True)
    assert (config.max_minutes, config.lr, config.duration_images) == (5.0, 0.01, 96)
    assert (folder / "runs/blobs/model/model.safetensors").is_file()
    assert (folder / "runs/blobs/samples/000000000096.png").is_file()
    assert "after 96 images: loss" in said.err
    assert "warning" not in said.err
    page = (folder / "runs/blobs/report.html").read_text()
    for heading in ("Samples", "How good are they?", "Memory or learning?", "What to try next", "Training"):
        assert f"<h2>{heading}</h2>" in page
    quality = json.loads((folder / "runs/blobs/quality.json").read_text())
    assert quality["samples"] == 256
    assert quality["metrics"]["fid"]["value"] > 10 * quality["metrics"]["fid"]["error"] > 0  # three steps of training

    assert main(["train", "runs/blobs/config.yaml", "--run-dir", "again"]) == 0
    weights = [(folder / name / "model/model.safetensors").read_bytes() for name in ("runs/blobs", "again")]
    assert weights[0] == weights[1]

    capsys.readouterr()
    assert main(["train", "blobs.npz", *SHORT]) == 2
    assert "runs/blobs holds a run already: resume it with --resume" in capsys.readouterr().err
    # It goes by its own plan: nothing is timed, and a machine that is slower now changes nothing.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "plan", None)
        assert main(["train", "blobs.npz", "--resume", "--no-report", "--duration-images", "128"]) == 0
    assert TrainingConfig.load("runs/blobs/config.yaml").duration_images == 128
    assert TrainingConfig.load("runs/blobs/config.yaml").lr == 0.01


def test_help_needs_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "some/pictures", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--minutes X" in said
    assert "--no-report" in said


def test_labels_are_left_out_when_asked(folder: Path) -> None:
    assert main(["train", "blobs.npz", "--minutes", "1", "--no-conditional", "--no-report", *SHORT]) == 0
    assert not TrainingConfig.load("runs/blobs/config.yaml").conditional


def test_a_name_that_is_both_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "digits").mkdir()
    assert train.both_note("digits") == "digits is taken as the preset; ./digits names what lies here"
    assert train.both_note("blobs.npz") is None
    assert not train.is_data("digits")
    assert train.is_data("./digits")
    assert train.is_data("mnist:test")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pictures",), "'pictures' is neither a data set (there is no such file or folder) nor a preset"),
        (("digts",), "did you mean 'digits'?"),
        (("blobs.npz", "--minutes", "0"), "--minutes is 0, but must be a positive number"),
        (("blobs.npz", "--minits", "5"), "there is no option --minits; did you mean --minutes?"),
        (("blobs.npz", "--data", "digits"), "--data digits is another data set than blobs.npz"),
        (("blobs.npz", "--device", "tpu"), "device 'tpu' is unknown"),
        (("blobs.npz", "--network", "addm"), "there is no network 'addm'"),
    ],
)
def test_mistakes_are_one_line_before_work_starts(
    words: tuple[str, ...], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in line
    assert not (folder / "runs").exists()


def test_signals_are_planned_for_too(folder: Path) -> None:
    random = np.random.default_rng(0)
    np.save("signals.npy", random.normal(0, 3, (40, 1, 16)).astype(np.float32))
    assert main(["train", "signals.npy", "--minutes", "1", *SHORT]) == 0
    config = TrainingConfig.load("runs/signals/config.yaml")
    assert (config.sigma_data, config.normalise) == (pytest.approx(1, rel=0.01), Standard())
    model = ed.load("runs/signals/model")
    scaling = ed.data.scaling_of(model)
    assert isinstance(scaling, Standard)
    signals = np.load("signals.npy")
    assert scaling.stds == pytest.approx((float(signals.std(dtype=np.float64)),))
    assert config.augment.off
    assert "Memory or learning?" in (folder / "runs/signals/report.html").read_text()
    # The sampler that the report names is the one that drew its samples, in the units of the data.
    quality, samples = (folder / "runs/signals" / name for name in ("quality.json", "quality.npz"))
    sampler = ed.Sampler.parse(json.loads(quality.read_text())["sampler"])
    drawn = scaling.to_data(sampler.run(model, range(64)).x)
    np.testing.assert_allclose(drawn, np.load(samples)["samples"], atol=3e-4)
