"""Checks come when all is safe on the disk, mean something on the smallest sets, and end no run."""

from __future__ import annotations

import shutil
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elucidiff import data
from elucidiff.data.scaling import to_unit
from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.denoisers.model_folder import load
from elucidiff.networks import DDPMPPSettings
from elucidiff.training import Callbacks, TrainingConfig, checks, train
from elucidiff.training.checkpoint import CheckpointFolder
from elucidiff.training.checks import Memorisation, MemorisationCheck
from tests.training.test_loop import assert_same_run, metrics


class Notes(Callbacks):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def on_note(self, text: str) -> None:
        self.said.append(text)

    @property
    def warnings(self) -> list[str]:
        return [text for text in self.said if text.startswith("warning: ")]


def config(path: Path, **settings: Any) -> TrainingConfig:
    """Four steps of a small network, with checks at the second and the last."""
    network = DDPMPPSettings(
        base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=(), dropout=0.0
    )
    defaults = {
        "data": str(path), "network": network, "duration_images": 16, "batch_size": 4, "lr_ramp_images": 0.0,
        "log_images": 8, "checkpoint_images": 8, "memorisation_samples": 4, "compile": "off", "device": "cpu",
    }  # fmt: skip
    return TrainingConfig(**(defaults | settings))


def pictures(path: Path, distinct: int, count: int, labels: bool = False) -> Path:
    """``count`` images, of which so many are different."""
    images = np.random.default_rng(3).normal(size=(distinct, 1, 8, 8)).clip(-1, 1).astype(np.float32)
    images = images[np.arange(count) % distinct]
    if labels:
        vectors = np.random.default_rng(4).normal(size=(count, 3)).astype(np.float32)
        np.savez(path / "images.npz", images=images, labels=vectors)
        return path / "images.npz"
    np.save(path / "images.npy", images)
    return path / "images.npy"


def broken(*_: object, **__: object) -> Any:
    raise IndexError("index 1 is out of bounds\nfor dimension 1")


@pytest.mark.parametrize(("distinct", "count", "labels"), [(1, 8, False), (1, 1, False), (2, 8, True), (2, 2, False)])
def test_a_run_on_one_or_two_pictures_finishes_and_saves_its_model(
    distinct: int, count: int, labels: bool, tmp_path: Path
) -> None:
    notes = Notes()
    settings = config(pictures(tmp_path, distinct, count, labels), conditional=labels)
    assert train(settings, tmp_path / "run", callbacks=notes).images_seen == 16
    assert load(tmp_path / "run" / "model").sample_shape == (1, 8, 8)
    left_out = [text for text in notes.warnings if "the training images are all equal" in text]
    assert len(left_out) == (distinct == 1)  # once, not at every checkpoint
    lines = [line for line in metrics(tmp_path / "run") if "memorised_fraction" in line]
    assert len(lines) == (2 if distinct == 2 else 0)
    assert all("memorised_fraction_real" not in line for line in lines)


@pytest.mark.parametrize("count", [2, 6])
def test_of_two_different_pictures_copies_are_known_but_there_is_nothing_to_compare_them_with(
    count: int, tmp_path: Path
) -> None:
    dataset = data.open(pictures(tmp_path, 2, count))
    found = MemorisationCheck(dataset, 8, 0.5)(DataPosterior(to_unit(dataset.images())))
    assert (found.fraction, found.real_fraction, found.real_ratio) == (1.0, None, None)
    assert found.ratio < 0.05
    assert found.warning is not None
    assert "8 of 8 samples are copies of training images (of two different ones" in found.warning


def test_what_lies_between_two_pictures_copies_neither(tmp_path: Path) -> None:
    dataset = data.open(pictures(tmp_path, 2, 2))
    middle = to_unit(dataset.images()).mean(0)

    class Middle(torch.nn.Module):
        label_dim, sample_shape = 0, (1, 8, 8)

        def forward(self, x: Tensor, sigma: Tensor, labels: Any = None) -> Tensor:
            return middle.to(x).expand_as(x)

    found = MemorisationCheck(dataset, 4, 0.5)(Middle())  # type: ignore[arg-type]
    assert (found.fraction, found.warning) == (0.0, None)
    assert found.ratio == pytest.approx(1.0, abs=1e-2)


def test_three_pictures_are_compared_with_each_other(tmp_path: Path) -> None:
    dataset = data.open(pictures(tmp_path, 3, 3))
    found = MemorisationCheck(dataset, 8, 0.5)(DataPosterior(to_unit(dataset.images())))
    flat = to_unit(dataset.images()).flatten(1).double().numpy()
    apart = [np.sort(np.linalg.norm(flat - one, axis=1))[1:] for one in flat]
    assert found.real_ratio == pytest.approx(sorted(near / far for near, far in apart)[1], rel=1e-9)
    assert (found.fraction, found.real_fraction) == (1.0, 0.0)


@pytest.mark.parametrize(("ratio", "copies"), [(0.30, 1.0), (0.33, 1.0), (0.34, 0.0), (0.40, 0.0)])
def test_a_copy_is_a_third_as_far_from_its_image_as_from_the_next(
    ratio: float, copies: float, tmp_path: Path
) -> None:
    """Yoon et al. 2023: nearest over second nearest distance below 1/3."""
    images = np.zeros((2, 1, 1, 2), np.float32)
    images[1] = 1.0
    np.save(tmp_path / "images.npy", images)
    dataset = data.open(tmp_path / "images.npy")
    at = ratio / (1 + ratio)  # on the line between them: at / (1 - at) = ratio

    class Between(torch.nn.Module):
        label_dim, sample_shape = 0, (1, 1, 2)

        def forward(self, x: Tensor, sigma: Tensor, labels: Any = None) -> Tensor:
            return torch.full_like(x, at)

    found = MemorisationCheck(dataset, 4, 0.5)(Between())  # type: ignore[arg-type]
    assert found.ratio == pytest.approx(ratio, abs=2e-3)
    assert found.fraction == copies


@pytest.mark.parametrize(
    ("fraction", "real", "warns"),
    [
        (0.10, 0.0, False),
        (0.11, 0.0, True),
        (0.29, 0.2, False),
        (0.31, 0.2, True),
        (0.1, None, False),
        (0.2, None, True),
    ],
)
def test_a_warning_when_a_tenth_more_of_the_samples_than_of_real_images_are_copies(
    fraction: float, real: float | None, warns: bool
) -> None:
    assert (Memorisation(100, fraction, 0.5, real, real).warning is not None) == warns


def test_samples_that_are_not_finite_are_told_not_counted(tmp_path: Path) -> None:
    dataset = data.open(pictures(tmp_path, 8, 8))

    class Broken(torch.nn.Module):
        label_dim, sample_shape = 0, (1, 8, 8)

        def forward(self, x: Tensor, sigma: Tensor, labels: Any = None) -> Tensor:
            return torch.full_like(x, torch.nan)

    with pytest.raises(ValueError, match="not finite"):
        MemorisationCheck(dataset, 4, 0.5)(Broken())  # type: ignore[arg-type]


def test_checks_that_fail_are_told_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "validate", broken)
    monkeypatch.setattr(MemorisationCheck, "__call__", broken)
    notes = Notes()
    settings = config(pictures(tmp_path, 12, 12), validation_images=4)
    assert train(settings, tmp_path / "run", callbacks=notes).images_seen == 16
    assert notes.warnings == [
        f"warning: the check for {kind} is left out: index 1 is out of bounds for dimension 1"
        for kind in ("overfitting", "memorisation")
    ]
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_the_checkpoint_is_on_the_disk_when_the_checks_begin_and_a_kill_in_them_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed in its checks makes up for them, and ends as one that was not."""
    settings = config(pictures(tmp_path, 12, 12), validation_images=4)
    train(settings, tmp_path / "unbroken", callbacks=Callbacks())
    found: list[int | None] = []
    run = tmp_path / "run"

    class Killed(BaseException):
        pass

    def kill(*_: object) -> Any:
        newest = CheckpointFolder(run / "checkpoints").newest()
        found.append(newest and newest.images_seen)
        raise Killed

    for images in (8, 16):
        with monkeypatch.context() as patched:
            patched.setattr(MemorisationCheck, "__call__", kill)
            with pytest.raises(Killed):
                train(settings, run, resume=run.exists(), callbacks=Callbacks())
        assert found.pop() == images
        if images == 8:  # made up for before the next step
            train(settings, shutil.copytree(run, tmp_path / "copy"), resume=True, callbacks=Callbacks())
            assert_same_run(tmp_path / "unbroken", tmp_path / "copy")
            train(settings, run, resume=True, callbacks=StopAt(12))
    train(settings, run, resume=True, callbacks=Callbacks())
    assert_same_run(tmp_path / "unbroken", run)
    best = [(path / "best" / "model.safetensors").read_bytes() for path in (run, tmp_path / "unbroken")]
    assert best[0] == best[1]


class StopAt(Callbacks):
    """Raises a signal after so many images."""

    def __init__(self, images: int) -> None:
        self._images = images

    def on_progress(self, progress: Any) -> None:
        if progress.images_seen == self._images:
            signal.raise_signal(signal.SIGINT)


def test_a_longer_cosine_run_says_that_its_rate_leaps_before_it_trains(tmp_path: Path) -> None:
    settings = config(pictures(tmp_path, 8, 8), memorisation_samples=0, lr_decay="cosine", lr=1e-3)
    train(settings, tmp_path / "run")
    longer = config(pictures(tmp_path, 8, 8), memorisation_samples=0, lr_decay="cosine", lr=1e-3, duration_images=32)
    order: list[str] = []

    class Order(Callbacks):
        def on_note(self, text: str) -> None:
            order.append(text)

        def on_progress(self, progress: Any) -> None:
            order.append("step")

    copy = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    train(longer, copy, resume=True, callbacks=Order())
    assert "its learning rate leaps (lr_decay is cosine" in order[0]
    assert order[1:] == ["step"] * 4
    # Whoever gives no callbacks hears it as a warning of Python's.
    with pytest.warns(UserWarning, match="its learning rate leaps"):
        train(longer, tmp_path / "run", resume=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train(longer, tmp_path / "run", resume=True)
