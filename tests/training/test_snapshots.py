"""Averages put together after a run, against those that the run tracked itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from elucidiff.training import NetworkConfig, TrainingConfig, reconstruct, train


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tracked the width 0.07 too, but left no snapshots of it."""
    folder = tmp_path_factory.mktemp("run")
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4), dtype=np.uint8))
    network = NetworkConfig(base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=())
    config = TrainingConfig(
        data=str(folder / "images.npy"), network=network, duration_images=400, batch_size=4, lr=1e-2,
        lr_ramp_images=0.0, ema_widths=(0.05, 0.07, 0.10), checkpoint_images=40, device="cpu",
    )  # fmt: skip
    train(config, folder)
    for snapshot in (folder / "averages").glob("*-0.07.safetensors"):
        snapshot.unlink()
    return folder


def tracked(run_dir: Path, width: str) -> dict[str, torch.Tensor]:
    newest = load_file(run_dir / "checkpoints" / "000000000400.safetensors")
    return {name.removeprefix(f"{width}."): value for name, value in newest.items() if name.startswith(f"{width}.")}


def test_every_checkpoint_leaves_a_snapshot_of_each_width(run_dir: Path) -> None:
    names = sorted(path.name for path in (run_dir / "averages").iterdir())
    assert len(names) == 2 * 10
    assert names[:2] == ["000000000040-0.05.safetensors", "000000000040-0.1.safetensors"]


def test_a_tracked_width_comes_back(run_dir: Path) -> None:
    parameters = dict(reconstruct(run_dir, 0.10).network.named_parameters())
    for name, value in tracked(run_dir, "ema-0.1").items():
        if name in parameters:
            torch.testing.assert_close(parameters[name].data, value, rtol=0, atol=1e-6)


def test_another_width_comes_close_to_what_was_tracked(run_dir: Path) -> None:
    parameters = reconstruct(run_dir, 0.07).network.named_parameters()
    directly, wider = tracked(run_dir, "ema-0.07"), tracked(run_dir, "ema-0.1")
    error, spread = 0.0, 0.0
    for name, parameter in parameters:
        error += (parameter.detach() - directly[name]).square().sum().item()
        spread += (wider[name] - directly[name]).square().sum().item()
    assert error < 0.05**2 * spread


def test_the_model_tells_how_it_was_averaged(run_dir: Path) -> None:
    facts = reconstruct(run_dir, 0.12, images_seen=300).facts["provenance"]
    assert (facts["ema_width"], facts["images_seen"]) == (0.12, 300)


@pytest.mark.parametrize(
    ("width", "images_seen", "message"),
    [(0.5, None, "width of an average is 0.5"), (0.1, 401, "as late as 401 images")],
)
def test_impossible_averages_are_refused(run_dir: Path, width: float, images_seen: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruct(run_dir, width, images_seen)


def test_runs_without_averages_and_damaged_ones(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run folder"):
        reconstruct(tmp_path / "typo", 0.1)
    with pytest.raises(ValueError, match="train with ema_widths"):
        reconstruct(tmp_path, 0.1)
    snapshot = run_dir / "averages" / "000000000040-0.05.safetensors"
    content = snapshot.read_bytes()
    try:
        snapshot.write_bytes(content[:100])
        with pytest.raises(ValueError, match=r"000000000040-0\.05\.safetensors is damaged"):
            reconstruct(run_dir, 0.1)
    finally:
        snapshot.write_bytes(content)
