"""Processes that train together have one plan: the first makes it for all."""

from __future__ import annotations

from pathlib import Path

from elucidiff.training import TrainingConfig
from tests.training.launching import Group, run


def test_two_processes_train_by_one_plan(pictures: str, tmp_path: Path) -> None:
    words = [
        "train", pictures, "--minutes", "1", "--run-dir", str(tmp_path / "run"), "--no-report", "--device=cpu",
        "--network", "mp_unet:base_channels=8,channel_multipliers=1", "--duration-images=64",
        "--memorisation-samples=0", "--compile=off",
    ]  # fmt: skip
    run(words, 2, tmp_path / "said")
    config = TrainingConfig.load(tmp_path / "run" / "config.yaml")
    assert config.batch_size % 2 == 0
    assert config.max_minutes == 1
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_a_mistake_is_told_once(pictures: str, tmp_path: Path) -> None:
    words = ["train", pictures, "--minutes", "-1", "--run-dir", str(tmp_path / "run")]
    ended = Group(words, 2, tmp_path / "said").wait()
    assert [each.code for each in ended] == [2, 2]
    assert sum("--minutes is -1" in each.said for each in ended) == 1
    assert not (tmp_path / "run").exists()
