"""Averages put together after a run, against those that the run tracked itself."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from elucidiff.cli import ema
from elucidiff.networks import DDPMPPSettings
from elucidiff.training import TrainingConfig, reconstruct, snapshots, train
from elucidiff.training.ema import WeightAverage
from elucidiff.training.posthoc_ema import PowerFunction
from elucidiff.training.snapshots import save_snapshot


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tracked the width 0.07 too, but left no snapshots of it."""
    folder = tmp_path_factory.mktemp("run")
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4), dtype=np.uint8))
    network = DDPMPPSettings(base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=())
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


def test_a_width_that_nothing_reaches_is_an_average_all_the_same(run_dir: Path, tmp_path: Path) -> None:
    """Two snapshots alone: every parameter keeps its size, and the model says how far the profile is off."""
    few = tmp_path / "few"
    shutil.copytree(run_dir / "model", few / "model")
    for width in ("0.05", "0.1"):
        (few / "averages").mkdir(exist_ok=True)
        shutil.copy(run_dir / "averages" / f"000000000400-{width}.safetensors", few / "averages")
    wide, narrow = reconstruct(few, 0.25), reconstruct(few, 0.10)
    sizes = [
        np.sqrt(sum(value.square().sum().item() for value in model.network.parameters())) for model in (wide, narrow)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)  # 0.63 times as large, before the coefficients summed to 1
    assert wide.facts["provenance"]["ema_fit_error"] > 0.7
    assert narrow.facts["provenance"]["ema_fit_error"] < 1e-6


def test_the_model_tells_how_it_was_averaged(run_dir: Path) -> None:
    facts = reconstruct(run_dir, 0.12, images_seen=300).facts["provenance"]
    assert (facts["ema_width"], facts["images_seen"]) == (0.12, 300)
    assert facts["ema_fit_error"] == pytest.approx(0.826, abs=0.001)  # nothing was kept between 280 and 320
    facts = reconstruct(run_dir, 0.12, images_seen=300, with_later=True).facts["provenance"]
    assert facts["ema_fit_error"] == pytest.approx(0.362, abs=0.001)


def test_the_command_says_how_well_a_width_is_reached(run_dir: Path, tmp_path: Path, capsys) -> None:
    assert ema.run([str(run_dir), "--width", "0.07", "--out", str(tmp_path / "model")]) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'model'}\n"
    assert re.fullmatch(r"width 0\.07: the fit is \d\.\d% off\n", said.err)
    assert ema.run([str(run_dir), "--width", "0.27", "--images-seen", "50", "--out", str(tmp_path / "wide")]) == 0
    assert re.match(
        r"width 0\.27: the fit is \d\d+\.\d% off: .* cannot give this width well", capsys.readouterr().err
    )


def test_a_snapshot_of_another_network_is_refused(run_dir: Path, tmp_path: Path) -> None:
    """One number where many belong would be taken for all of them."""
    other = shutil.copytree(run_dir, tmp_path / "other")
    path = other / "averages" / "000000000400-0.1.safetensors"
    values = load_file(path)
    save_file({name: value.flatten()[:1].clone() for name, value in values.items()}, path)
    with pytest.raises(ValueError, match=r"000000000400-0\.1\.safetensors is of another network"):
        reconstruct(other, 0.1)


def test_every_width_has_its_own_file_name(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    for width in (0.05, 0.0500001, 0.00001):
        save_snapshot(tmp_path, WeightAverage(network, PowerFunction(width)), network.state_dict(), 100)
    assert len(list((tmp_path / "averages").iterdir())) == 3
    found = sorted(snapshot.profile.sigma_rel for snapshot in snapshots._snapshots(tmp_path))
    assert found == [0.00001, 0.05, 0.0500001]


@pytest.mark.parametrize(
    ("width", "images_seen", "message"),
    [
        (0.5, None, "width of an average is 0.5"),
        (0.1, 401, "as late as 401 images"),
        (0.1, 39, "first snapshot was taken at 40"),
        (0.1, 0, "and 0 are wanted"),
    ],
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
