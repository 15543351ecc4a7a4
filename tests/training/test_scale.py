"""Data whose scale training is not made for: said before the first step, and to whoever listens."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from elucidiff.networks import DDPMPPSettings
from elucidiff.training import Callbacks, TrainingConfig, train


class Heard(Callbacks):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps = 0

    def on_note(self, text: str) -> None:
        assert not self.steps
        self.notes.append(text)

    def on_progress(self, progress: object) -> None:
        self.steps += 1


def config(path: Path, scale: float, **settings: object) -> TrainingConfig:
    np.save(path / "x.npy", scale * np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32))
    plain = TrainingConfig(
        data=str(path / "x.npy"),
        network=DDPMPPSettings(
            base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=()
        ),
        memorisation_samples=0,
        duration_images=8,
        batch_size=8,
        compile="off",
        device="cpu",
    )
    return plain.with_settings(settings)


def warned_in(settings: TrainingConfig, run_dir: Path) -> list[str]:
    """What a training that nobody listens to warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(settings, run_dir)
    return [str(each.message) for each in caught if issubclass(each.category, UserWarning)]


def test_a_mismatch_is_said_before_the_first_step_and_in_python_s_way_where_nobody_listens(tmp_path: Path) -> None:
    heard, settings = Heard(), config(tmp_path, 50)
    train(settings, tmp_path / "heard", callbacks=heard)
    (said,) = [note for note in heard.notes if note.startswith("warning: the standard deviation of x is")]
    assert "times sigma_data (0.5)" in said
    assert heard.steps == 1
    (warned,) = warned_in(settings, tmp_path / "alone")
    assert re.search(r"the standard deviation of x is [45]\d\.\d, [19]\d\.?\d* times sigma_data", warned)


@pytest.mark.parametrize(
    ("scale", "settings"),
    [(0.5, {}), (50, {"sigma_data": 50.0}), (0.5, {"preconditioning": "vp", "objective": "vp"})],
)
def test_data_that_fit_are_trained_on_without_a_word(
    tmp_path: Path, scale: float, settings: dict[str, object]
) -> None:
    assert warned_in(config(tmp_path, scale, **settings), tmp_path / "run") == []


def test_other_objectives_are_made_for_images_of_the_paper_s_scale(tmp_path: Path) -> None:
    (warned,) = warned_in(config(tmp_path, 50, preconditioning="ve", objective="ve"), tmp_path / "run")
    assert "times sigma_data" in warned
