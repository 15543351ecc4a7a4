"""What a training keeps of the classes of its data, and does without them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elucidiff as ed
from elucidiff.networks import DDPMPPSettings
from elucidiff.training import Callbacks, TrainingConfig, reconstruct, train

NETWORK = DDPMPPSettings(8, (1,), 1, (), dropout=0.0)


def config(data: Path, **settings: Any) -> TrainingConfig:
    usual = {"network": NETWORK, "conditional": True, "batch_size": 8, "duration_images": 16, "device": "cpu"}
    return TrainingConfig(data=str(data), memorisation_samples=0, **(usual | settings))


class Heard(Callbacks):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def unbalanced(tmp_path: Path) -> Path:
    """50 signals of class 7, 10 of class 1 and 40 of class 1000."""
    labels = np.repeat([7, 1, 1000], [50, 10, 40])
    signals = np.random.default_rng(0).normal(size=(100, 1, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=signals, labels=labels)
    return tmp_path / "data.npz"


def test_the_model_knows_what_it_was_trained_with(unbalanced: Path, tmp_path: Path) -> None:
    settings = config(unbalanced, validation_images=20, ema_widths=(0.05, 0.1))
    train(settings, tmp_path / "run")
    models = [ed.load(tmp_path / "run" / "model"), reconstruct(tmp_path / "run", 0.07)]
    train(
        replace(settings, duration_images=32),
        tmp_path / "run",
        resume=True,
    )
    for model in (*models, ed.load(tmp_path / "run" / "model")):
        known = model.known_labels
        # What was held out, the same share of each class, does not count.
        assert (known.names, known.counts) == (("1", "7", "1000"), (8, 40, 32))
        drawn = ed.Sampler(steps="karras:n=2").run(model, range(400)).labels
        assert drawn is not None
        counts = drawn.argmax(1).bincount(minlength=1001)
        assert int(counts[[1, 7, 1000]].sum()) == 400
        assert counts[[1, 7, 1000]].tolist() == pytest.approx([40, 200, 160], abs=40)


def test_a_class_without_training_images_is_drawn_and_taken_only_by_force(tmp_path: Path) -> None:
    signals = np.zeros((30, 1, 4), np.float32)
    np.savez(tmp_path / "data.npz", images=signals, labels=np.arange(30) % 3)
    train(config(tmp_path / "data.npz"), tmp_path / "run")
    description = tmp_path / "run/model/model.json"
    facts = json.loads(description.read_text())
    facts["data"]["class_counts"] = [5, 0, 5]
    description.write_text(json.dumps(facts))
    model, sampler = ed.load(tmp_path / "run/model"), ed.Sampler(steps="karras:n=2")
    for labels in (None, "uniform"):
        drawn = sampler.run(model, range(60), labels).labels
        assert drawn is not None
        counts = drawn.sum(0).tolist()
        assert counts[1] == 0
        assert min(counts[0], counts[2]) > 10
    for asked in ([1, 0], torch.eye(3)[[1, 0]], 1):
        with pytest.raises(ValueError, match="class 1 had no training images"):
            sampler.run(model, range(2), asked)
        forced = sampler.run(model, range(2), asked, any_class=True).labels
        assert forced is not None
        assert float(forced[0, 1]) == 1


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("class_names", ["a", "a", "b"]), ("class_names", ["a", "b"]), ("class_names", "abc"),
        ("class_names", [1, 2, 3]), ("class_counts", [1, 2]), ("class_counts", [0, 0, 0]),
        ("class_counts", [1, -1, 1]), ("class_counts", [1.5, 1, 1]), ("class_counts", [2**62, 2**62, 1]),
    ],
)  # fmt: skip
def test_a_damaged_description_is_refused(tmp_path: Path, entry: str, value: Any) -> None:
    network = ed.networks.UNet.ddpmpp((1, 4), base_channels=8, channel_multipliers=(1,), label_dim=3)
    denoiser = ed.Denoiser(network, ed.preconditioning.EDM())
    denoiser.facts["data"][entry] = value
    denoiser.save(tmp_path / "model")
    with pytest.raises(ValueError, match=rf"model.json: {entry} must be 3"):
        ed.load(tmp_path / "model")


def test_data_without_labels_are_trained_on_without_and_one_line_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.zeros((10, 1, 4), np.float32))
    heard = Heard()
    network = DDPMPPSettings(8, (1,), 1, (), dropout=0.0, label_dropout=0.1)
    train(config(tmp_path / "plain.npy", network=network), tmp_path / "run", callbacks=heard)
    assert [note for note in heard.notes if "no labels" in note] == [
        f"{tmp_path / 'plain.npy'} has no labels, so it is trained on without labels (--no-conditional)"
    ]
    model = ed.load(tmp_path / "run" / "model")
    assert (model.label_dim, model.label_dropout) == (0, None)
