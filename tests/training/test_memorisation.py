"""The check for copies: on denoisers of which it is known whether they copy, and on a network that overfits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage
import torch

from elucidiff import data
from elucidiff.data import nearest
from elucidiff.data.scaling import to_unit
from elucidiff.denoisers.ideal import DataPosterior, GaussianMixture
from elucidiff.networks import DDPMPPSettings
from elucidiff.training import Callbacks, TrainingConfig, train
from elucidiff.training.checks import MemorisationCheck


def blurred(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Gaussian noise, blurred: 8-bit images with no two alike, and more to come from where they are from."""
    noise = np.random.default_rng(seed).normal(size=(count, 1, 8, 8))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, 0, 1.2, 1.2))
    return np.clip(smooth / smooth.std() * 60 + 128, 0, 255).astype(np.uint8)


def opened(tmp_path: Path, images: Any) -> data.Dataset:
    np.save(tmp_path / "images.npy", images)
    return data.open(tmp_path / "images.npy")


def fitted_gaussian(images: torch.Tensor) -> GaussianMixture:
    """The denoiser of a Gaussian with the images' mean and covariance."""
    flat = images.flatten(1).double()
    covariance = torch.cov(flat.T)
    return GaussianMixture(images.double().mean(0, keepdim=True), covariance[None], torch.ones(1))


def test_the_posterior_mean_over_the_training_images_copies_all(tmp_path: Path) -> None:
    dataset = opened(tmp_path, blurred(200))
    found = MemorisationCheck(dataset, 32, 0.5)(DataPosterior(to_unit(dataset.images())))
    assert (found.samples, found.fraction, found.real_fraction) == (32, 1.0, 0.0)
    assert found.ratio < 0.05
    assert found.warning is not None
    assert found.warning.startswith("32 of 32 samples are copies of training images (of real images 0 would be)")


def test_a_gaussian_with_the_same_moments_copies_none(tmp_path: Path) -> None:
    dataset = opened(tmp_path, blurred(200))
    found = MemorisationCheck(dataset, 32, 0.5)(fitted_gaussian(to_unit(dataset.images())))
    assert (found.fraction, found.real_fraction, found.warning) == (0.0, 0.0, None)
    assert found.ratio == pytest.approx(found.real_ratio, abs=0.08)


def test_copies_are_found_among_duplicates(tmp_path: Path) -> None:
    """Every image twice: a copy is equally far from both, which must not make it look new."""
    images = blurred(40)
    dataset = opened(tmp_path, np.concatenate([images, images]))
    assert MemorisationCheck(dataset, 8, 0.5)(DataPosterior(to_unit(dataset.images()))).fraction == 1.0


def test_real_ratios_are_those_of_a_direct_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_VALUES_AT_ONCE", 7 * 64)
    dataset = opened(tmp_path, blurred(30))
    found = MemorisationCheck(dataset, 10, 0.5)(fitted_gaussian(to_unit(dataset.images())))
    flat = to_unit(dataset.images()).flatten(1).double().numpy()
    ratios = []
    for place in np.linspace(0, 29, 10).round().astype(int):
        others = np.sort(np.linalg.norm(np.delete(flat, place, 0) - flat[place], axis=1))
        ratios.append(others[0] / others[1])
    # PyTorch's median is the lower of the two in the middle.
    assert found.real_ratio == pytest.approx(np.sort(ratios)[4], rel=1e-9)


def test_of_a_huge_set_some_images_stand_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A denoiser copies 100 images, of which 25 are looked at: about a quarter of its samples are caught."""
    monkeypatch.setattr(nearest, "_VALUES", 25 * 64)
    dataset = opened(tmp_path, blurred(100))
    found = MemorisationCheck(dataset, 64, 0.5)(DataPosterior(to_unit(dataset.images())))
    assert 0.1 < found.fraction < 0.45


def test_labels_are_those_of_training_images(tmp_path: Path) -> None:
    """Of class 1 there is one image in ten: so few of the samples are asked to be of it."""
    labels = (np.arange(60) % 10 == 0).astype(np.int64)
    np.savez(tmp_path / "images.npz", images=blurred(60), labels=labels)
    dataset = data.open(tmp_path / "images.npz")
    asked: list[torch.Tensor] = []

    class Watched(DataPosterior):
        def forward(self, x: Any, sigma: Any, labels: Any = None) -> Any:
            asked.append(labels)
            return super().forward(x, sigma, labels)

    found = MemorisationCheck(dataset, 30, 0.5)(Watched(to_unit(dataset.images()), torch.from_numpy(labels)))
    assert found.fraction == 1.0
    places = np.linspace(0, 59, 30).round().astype(int)
    assert asked[0][:, 1].tolist() == labels[places][: len(asked[0])].tolist()


def test_nothing_random_is_left_behind(tmp_path: Path) -> None:
    dataset = opened(tmp_path, blurred(20))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    check, denoiser = MemorisationCheck(dataset, 4, 0.5), DataPosterior(to_unit(dataset.images()))
    assert check(denoiser) == check(denoiser)
    assert torch.equal(torch.random.get_rng_state(), before)


class Notes(Callbacks):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def on_note(self, text: str) -> None:
        self.said.append(text)


def checked_run(tmp_path: Path, count: int, held_out: int, **settings: Any) -> tuple[list[str], list[dict[str, Any]]]:
    """What a run on blurred noise says, and its lines about checkpoints."""
    np.save(tmp_path / "images.npy", blurred(count + held_out))
    network = DDPMPPSettings(
        base_channels=32, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=(), dropout=0.0
    )
    defaults = {
        "data": str(tmp_path / "images.npy"), "validation_images": held_out, "network": network, "batch_size": 16,
        "lr": 1e-2, "lr_ramp_images": 500.0, "ema_half_life_images": 1000.0, "device": "cpu", "compile": "off",
    }  # fmt: skip
    notes = Notes()
    train(TrainingConfig(**(defaults | settings)), tmp_path / "run", callbacks=notes)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    return notes.said, [line for line in lines if "memorised_fraction" in line]


@pytest.mark.slow
def test_a_network_that_overfits_16_images_is_caught(tmp_path: Path) -> None:
    said, lines = checked_run(
        tmp_path, 16, 32, batch_size=32, duration_images=22_400, checkpoint_images=3_200, log_images=1_600,
        memorisation_samples=16,
    )  # fmt: skip
    assert lines[0]["memorised_fraction"] == 0
    assert lines[-1]["memorised_fraction"] >= 0.3
    assert lines[-1]["nearest_ratio"] < 0.6 < lines[0]["nearest_ratio"]
    assert lines[-1]["overfitting_levels"] >= 3
    assert lines[-1]["validation_loss"] > 1.3 * lines[-1]["validation_best"]
    warnings = [text for text in said if text.startswith("warning: ")]
    assert ["overfits" in text for text in warnings] == [True, False]
    assert "copies of training images" in warnings[1]
    best = json.loads((tmp_path / "run" / "best" / "model.json").read_text())
    assert best["provenance"]["images_seen"] == lines[-1]["validation_best_images"]


@pytest.mark.slow
def test_a_network_with_enough_images_is_not(tmp_path: Path) -> None:
    said, lines = checked_run(
        tmp_path, 4000, 200, duration_images=4_800, checkpoint_images=800, log_images=400, memorisation_samples=16
    )
    assert [line["memorised_fraction"] for line in lines] == [0.0] * 6
    assert [line["overfitting_levels"] for line in lines] == [0] * 6
    assert not [text for text in said if text.startswith("warning: ")]
