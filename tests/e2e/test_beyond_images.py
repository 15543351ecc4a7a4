"""Signals and volumes from a file to samples, by the real loop; thresholds that an untrained model fails by far."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import elucidiff as ed
from elucidiff.networks import DDPMPPSettings
from elucidiff.training import TrainingConfig, train
from elucidiff.training.state import TrainingState
from tests.e2e.conftest import Run

DIGITS = load_digits()


def settings(data: Path, images: int, **others: Any) -> TrainingConfig:
    """A short training at the spread of the data."""
    opened = ed.data.open(data)
    spread = float(ed.data.to_unit(opened.images()).std())
    network = {"base_channels": 16, "channel_multipliers": (1,), "attention_resolutions": (), "dropout": 0.0}
    network |= {name: others.pop(name) for name in list(others) if name in DDPMPPSettings.__dataclass_fields__}
    chosen = {
        "data": str(data), "conditional": opened.label_dim > 0, "sigma_data": spread,
        "p_mean": float(np.log(spread / 0.5)) - 0.8, "network": DDPMPPSettings(blocks_per_level=1, **network),
        "duration_images": images, "batch_size": 32, "lr": 5e-3, "lr_ramp_images": 320.0, "lr_decay": "cosine",
        "ema_half_life_images": images / 10, "log_images": images // 4, "checkpoint_images": 10**9, "device": "cpu",
    }  # fmt: skip
    noise = {name: chosen.pop(name) for name in ("sigma_data", "p_mean")}
    return TrainingConfig(**(chosen | others)).with_settings(
        {"sigma_data": noise["sigma_data"], "objective.p_mean": noise["p_mean"]}
    )


def sampler(config: TrainingConfig) -> ed.Sampler:
    return ed.Sampler(steps=f"karras:n=12,sigma_min={0.004 * config.sigma_data},sigma_max={160 * config.sigma_data}")


def accuracy(samples: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]) -> float:
    """Share of samples that a classifier of real digits takes for what they should be."""
    classifier = LogisticRegression(max_iter=300).fit(DIGITS.data / 16 - 0.5, DIGITS.target)
    return float((classifier.predict(samples.reshape(len(samples), 64)) == classes).mean())


def test_digits_as_signals_of_eight_channels_through_the_command_line(elucidiff: Run, tmp_path: Path) -> None:
    rows = (DIGITS.images / 16 - 0.5).astype(np.float32)  # 8 channels of 8 steps
    np.savez(tmp_path / "rows.npz", images=rows, labels=DIGITS.target)
    done = elucidiff("data", "import", tmp_path / "rows.npz", tmp_path / "rows", "--channel-axis", "first")
    assert done.returncode == 0, done.stderr
    done = elucidiff(
        "train", "digits", "--data", tmp_path / "rows", "--run-dir", tmp_path / "run", "--batch-size=64",
        "--sigma-data=0.38", "--p-mean=-1.1", "--network.base-channels=32", "--network.channel-multipliers", "1",
        "--duration-images=16000", "--lr=5e-3", "--lr-ramp-images=640", "--device=cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = ("--seeds", "0-99", "--labels", "0-9", "--n", "9", "--out", tmp_path / "out")
    done = elucidiff("sample", tmp_path / "run" / "model", *words)
    assert done.returncode == 0, done.stderr
    assert "each a float32 .npy array of shape (8, 8), in the units of the training data" in done.stdout

    record = json.loads((tmp_path / "out" / "samples.json").read_text())
    samples = np.stack([np.load(tmp_path / "out" / entry["file"]) for entry in record["samples"]])
    classes = np.array([entry["label"] for entry in record["samples"]])
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(classes, np.arange(100) % 10)
    assert accuracy(samples, classes) > 0.6  # chance: 0.1, with a standard error of 0.03
    assert samples.mean() == pytest.approx(rows.mean(), abs=0.04)
    assert samples.std() == pytest.approx(rows.std(), rel=0.12)


@pytest.mark.slow
def test_digits_as_sequences_of_64_steps(tmp_path: Path) -> None:
    sequences = (DIGITS.data / 16 - 0.5).astype(np.float32)[:, None]
    np.savez(tmp_path / "sequences.npz", images=sequences, labels=DIGITS.target)
    config = settings(tmp_path / "sequences.npz", 20_000, batch_size=64, channel_multipliers=(1, 2, 2))
    train(config, tmp_path / "run")
    classes = np.arange(200) % 10
    samples = sampler(config).run(ed.load(tmp_path / "run" / "model"), range(200), classes).x
    assert samples.shape == (200, 1, 64)
    assert accuracy(samples.numpy(), classes) > 0.75
    untrained = TrainingState(config, (1, 64), 10, torch.device("cpu")).denoiser.eval()
    assert accuracy(sampler(config).run(untrained, range(50), classes[:50]).x.numpy(), classes[:50]) < 0.35


GRID = np.stack(np.meshgrid(*[np.arange(8.0)] * 3, indexing="ij"))


def blob(centre: np.ndarray[Any, Any], width: Any) -> np.ndarray[Any, Any]:
    """exp(-|r - centre|^2 / (2 width^2)) on a grid of 8 x 8 x 8."""
    distance = ((GRID - np.asarray(centre)[..., None, None, None]) ** 2).sum(-4)
    return np.asarray(np.exp(-distance / (2 * np.asarray(width)[..., None, None, None] ** 2)))


def fitted(volume: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Centre, width and height of the blob that is nearest to a volume, and the r.m.s. of what it leaves."""

    def left(parameters: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray((parameters[4] * blob(parameters[:3], parameters[3]) - volume).ravel())

    highest = np.unravel_index(volume.argmax(), volume.shape)
    found = least_squares(left, [*highest, 1.2, 1.0])
    return np.array([*found.x, np.sqrt((found.fun**2).mean())])


@pytest.mark.slow
def test_blobs_in_volumes(tmp_path: Path) -> None:
    """Gaussian blobs with centres uniform in [2.5, 4.5] and widths uniform in [0.9, 1.5]."""
    random = np.random.default_rng(0)
    centres, widths = random.uniform(2.5, 4.5, (2000, 3)), random.uniform(0.9, 1.5, 2000)
    np.save(tmp_path / "blobs.npy", 100 * blob(centres, widths)[:, None].astype(np.float32))
    config = settings(tmp_path / "blobs.npy", 4800, channel_multipliers=(1, 2))
    train(config, tmp_path / "run")
    samples = sampler(config).run(ed.load(tmp_path / "run" / "model"), range(64)).x.numpy()[:, 0] / 100
    found = np.stack([fitted(sample) for sample in samples])
    assert np.median(found[:, 5]) < 0.06  # heights are 1
    np.testing.assert_allclose(np.median(found[:, :3], axis=0), 3.5, atol=0.45)
    np.testing.assert_allclose(found[:, :3].std(0), 2 / np.sqrt(12), rtol=0.4)
    assert np.median(found[:, 3]) == pytest.approx(1.2, abs=0.2)
    assert np.median(found[:, 4]) == pytest.approx(1.0, abs=0.15)
    untrained = TrainingState(config, (1, 8, 8, 8), 0, torch.device("cpu")).denoiser.eval()
    noise = sampler(config).run(untrained, range(4)).x.numpy()[:, 0] / 100
    assert min(fitted(volume)[5] for volume in noise) > 0.1


def bump(conditions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Signals of 16 points, whose place and height are the condition's two numbers."""
    place, height = 7.5 + 3 * conditions[:, :1], 1 + 0.5 * conditions[:, 1:]
    return np.asarray(height * np.exp(-((np.arange(16) - place) ** 2) / 8))


@pytest.mark.slow
def test_vectors_matter_only_where_they_belong_to_the_data(tmp_path: Path) -> None:
    """The same training follows its labels, ignores shuffled ones, and knows both ways with label dropout."""
    random = np.random.default_rng(0)
    conditions = random.uniform(-1, 1, (2000, 2)).astype(np.float32)
    signals = (bump(conditions) + random.normal(0, 0.05, (2000, 16))).astype(np.float32)[:, None]
    asked = random.uniform(-1, 1, (128, 2)).astype(np.float32)

    def trained(name: str, labels: np.ndarray[Any, Any], **network: Any) -> tuple[ed.Denoiser, ed.Sampler]:
        np.savez(tmp_path / f"{name}.npz", images=signals, labels=labels)
        config = settings(tmp_path / f"{name}.npz", 16_000, **network)
        train(config, tmp_path / name)
        return ed.load(tmp_path / name / "model"), sampler(config)

    def error(model: ed.Denoiser, chosen: ed.Sampler) -> float:
        samples = chosen.run(model, range(128), asked).x.numpy()[:, 0]
        return float(np.sqrt(np.mean((samples - bump(asked)) ** 2)))

    assert error(*trained("right", conditions)) < 0.15
    assert error(*trained("shuffled", random.permutation(conditions))) > 0.3
    model, chosen = trained("dropped", conditions, label_dropout=0.3)
    assert error(model, chosen) < 0.2
    # Without a label the samples scatter as all of the data do.
    free = chosen.run(model, range(128), model.unconditional).x.numpy()[:, 0]
    assert np.corrcoef(free.argmax(1), 7.5 + 3 * asked[:, 0])[0, 1] < 0.4
    assert free.argmax(1).std() == pytest.approx(3 * 2 / np.sqrt(12), rel=0.35)


@pytest.mark.parametrize(
    ("arrays", "flags", "says"),
    [
        ({"images": np.zeros((20, 64), np.float32)}, (), r"have shape (64,), but must have channels"),
        ({"images": np.zeros((20, 1, 9), np.float32)}, (), "size 9 does not fit 2 levels"),
        ({"images": np.zeros((20, 1, 8), np.float32)}, ("--augment.p=0.1", "--augment.scale=1"), "switch it off"),
        ({"images": np.zeros((20, 1, 4, 4, 4), np.float32)}, ("--augment.p=1", "--augment.xflip=1"), "2-D images"),
        (
            {"images": np.ones((3, 1, 8), np.float32), "labels": np.array([0.0, 1.0, 2.0])},
            ("--conditional",),
            "may be classes or vectors",
        ),
    ],
    ids=["no channels", "size", "augmented signal", "augmented volume", "whole numbers"],
)
def test_what_cannot_be_trained_is_said_before_it_starts(
    elucidiff: Run, tmp_path: Path, arrays: dict[str, Any], flags: tuple[str, ...], says: str
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    conditional = () if "--conditional" in flags else ("--no-conditional",)
    words = ("--validation-images=0", "--device=cpu", "--run-dir", tmp_path / "run")
    given = [flag for flag in flags if flag != "--conditional"]
    done = elucidiff("train", "digits", "--data", tmp_path / "x.npz", *words, *conditional, *given)
    assert done.returncode == 2
    assert says in done.stderr
    *notes, mistake = done.stderr.strip().splitlines()
    assert mistake.startswith("elucidiff train: error: ")
    assert all(note.startswith("elucidiff train: note: ") for note in notes)
    assert not (tmp_path / "run").exists()
