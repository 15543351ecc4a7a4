"""Power-function averages and their reconstruction after the training, against averages tracked directly."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from elucidiff.cli.ema import run
from elucidiff.networks import DDPMPPSettings
from elucidiff.training import TrainingConfig, ema, reconstruct, train
from elucidiff.training.ema import (
    PowerFunction,
    Profile,
    WeightAverage,
    combination,
    fit_error,
    gamma_of_width,
    save_snapshot,
)
from tests.golden_files import load

SETS, TABLES = load("h_ema/posthoc")
WALKS, WALK_TABLES = load("h_ema/posthoc_walks")


def table(tables: dict[str, torch.Tensor], prefix: str) -> dict[str, np.ndarray]:
    """The tensors of one case, as NumPy arrays under their last names."""
    return {name.removeprefix(prefix): value.numpy() for name, value in tables.items() if name.startswith(prefix)}


def stored(case: dict[str, np.ndarray]) -> list[Profile]:
    pairs = zip(case["stored_widths"].tolist(), case["stored_images"].tolist(), strict=True)
    return [Profile(width, images) for width, images in pairs]


@given(st.floats(0.005, 0.28))
def test_gamma_gives_the_width(sigma_rel: float) -> None:
    gamma = gamma_of_width(sigma_rel)
    assert gamma > -1
    assert (gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)) == pytest.approx(sigma_rel**2, rel=1e-9)


@pytest.mark.parametrize(("sigma_rel", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_gamma_of_the_usual_widths(sigma_rel: float, gamma: float) -> None:
    assert gamma_of_width(sigma_rel) == pytest.approx(gamma, abs=0.005)


def test_exponents_of_the_reference() -> None:
    for sigma_rel, gamma in zip(
        TABLES["width_to_exponent/sigma_rel"].tolist(), TABLES["width_to_exponent/exponent"].tolist(), strict=True
    ):
        assert gamma_of_width(sigma_rel) == pytest.approx(gamma, rel=1e-8, abs=1e-8)
    assert gamma_of_width(12**-0.5) == pytest.approx(0, abs=1e-8)  # uniform: as wide as an average can be


def test_updates_of_the_reference() -> None:
    columns = (TABLES[f"beta/{name}"].tolist() for name in ("sigma_rel", "batch", "nimg_after", "beta"))
    for sigma_rel, batch, after, beta in zip(*columns, strict=True):
        assert PowerFunction(sigma_rel).beta(after - batch, batch) == pytest.approx(beta, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("index", range(len(SETS["sets"])))
def test_coefficients_of_the_reference(index: int) -> None:
    case = table(TABLES, f"set_{index}/")
    snapshots = stored(case)
    for width, images, expected in zip(
        case["wanted_width"].tolist(), case["wanted_images"].tolist(), case["coefficients"], strict=True
    ):
        coefficients = combination(snapshots, Profile(width, images))
        np.testing.assert_allclose(coefficients, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
        assert coefficients.sum() == pytest.approx(1, abs=1e-12)
    later = table(TABLES, f"set_{index}/with_later/")
    for width, expected in zip(later.get("wanted_width", ()), later.get("coefficients", ()), strict=True):
        wanted = Profile(float(width), int(later["wanted_images"]))
        coefficients = combination(snapshots, wanted, with_later=True)
        np.testing.assert_allclose(coefficients, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("index", range(len(WALKS["walks"])))
def test_walks_of_the_reference(index: int) -> None:
    case = table(WALK_TABLES, f"walk_{index}/")
    snapshots = stored(case)
    for row, width in enumerate(case["wanted_width"].tolist()):
        coefficients = combination(snapshots, Profile(width, int(case["stored_images"].max())))
        np.testing.assert_allclose(coefficients, case["coefficients"][row], rtol=0, atol=1e-9)
        reconstruction, direct = coefficients @ case["stored"], case["direct"][row]
        np.testing.assert_allclose(reconstruction, case["reconstruction"][row], rtol=0, atol=1e-9)
        error = np.linalg.norm(reconstruction - direct) / np.linalg.norm(direct)
        assert error <= case["rel_error"][row] + 1e-12


@pytest.mark.parametrize("width", [0.0, -0.1, 0.29, 1e-200, float("nan")])
def test_impossible_widths_are_refused(width: float) -> None:
    with pytest.raises(ValueError, match="width"):
        gamma_of_width(width)


def test_updates_give_the_integral() -> None:
    """A weight that is 1 in the second half alone has the share 1 - (1/2)^(gamma + 1) of the profile."""
    network = nn.Linear(1, 1, bias=False).double()
    average = WeightAverage(network, PowerFunction(0.1))
    for step in range(100):
        nn.init.constant_(network.weight, float(step >= 50))
        average.update(64 * step, 64)
    expected = 1 - 0.5 ** (gamma_of_width(0.1) + 1)
    assert average.network.weight.item() == pytest.approx(expected, rel=1e-12)


def test_a_snapshot_is_its_own_combination() -> None:
    snapshots = [Profile(width, images) for width in (0.05, 0.10) for images in (1000, 2000, 3000)]
    for index, wanted in enumerate(snapshots):
        np.testing.assert_allclose(combination(snapshots, wanted), np.eye(6)[index], atol=1e-6)


@pytest.mark.parametrize("width", [0.05, 0.07, 0.10, 0.15])
def test_reconstruction_is_the_directly_tracked_average(width: float) -> None:
    torch.manual_seed(0)
    network = nn.Linear(20, 20).double()
    profiles = [PowerFunction(0.05), PowerFunction(0.10), PowerFunction(width)]
    averages = [WeightAverage(network, profile) for profile in profiles]
    kept: list[tuple[Profile, torch.Tensor]] = []
    for step in range(2000):
        with torch.no_grad():
            network.weight += 0.1 * torch.randn(20, 20, dtype=torch.float64)  # a random walk, as training weights do
        for average in averages:
            average.update(64 * step, 64)
        if (step + 1) % 125 == 0:
            for profile, average in zip(profiles[:2], averages[:2], strict=True):
                kept.append((Profile(profile.sigma_rel, 64 * (step + 1)), average.network.weight.detach().clone()))
    weights = combination([profile for profile, _ in kept], Profile(width, 64 * 2000))
    rebuilt = sum(weight * value for weight, (_, value) in zip(weights, kept, strict=True))
    tracked = averages[2].network.weight.detach()
    spread = (tracked - network.weight.detach()).norm()
    assert (rebuilt - tracked).norm() < 0.02 * spread


def density(profile: Profile, times: np.ndarray) -> np.ndarray:
    gamma = gamma_of_width(profile.sigma_rel)
    end = profile.images_seen
    return np.where(times <= end, (gamma + 1) * (times / end) ** gamma / end, 0.0)


@pytest.mark.parametrize("width", [0.03, 0.075, 0.15, 0.25])
def test_fit_error_is_the_distance_of_the_profiles(width: float) -> None:
    snapshots = [Profile(stored, images) for stored in (0.05, 0.10) for images in (400, 1000)]
    wanted = Profile(width, 1000)
    coefficients = combination(snapshots, wanted)
    times = np.arange(200_000) * (1000 / 200_000) + 1000 / 400_000  # midpoints
    fitted = sum(c * density(one, times) for c, one in zip(coefficients, snapshots, strict=True))
    difference, whole = fitted - density(wanted, times), density(wanted, times)
    expected = np.sqrt((difference**2).mean() / (whole**2).mean())
    assert fit_error(snapshots, coefficients, wanted) == pytest.approx(expected, rel=1e-4)


def test_fit_error_falls_with_more_snapshots_and_is_none_for_a_stored_width() -> None:
    errors = []
    for count in (2, 4, 8, 16):
        snapshots = [Profile(width, 1000 * (k + 1) // count) for width in (0.05, 0.10) for k in range(count)]
        wanted = Profile(0.15, 1000)
        errors.append(fit_error(snapshots, combination(snapshots, wanted), wanted))
        exact = Profile(0.10, 1000)
        assert fit_error(snapshots, combination(snapshots, exact), exact) < 1e-6
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.2 > 0.01 > errors[-1]
    with pytest.raises(ValueError, match="32 snapshots"):
        fit_error(snapshots, [1.0], exact)


def test_times_without_snapshots_are_refused() -> None:
    with pytest.raises(ValueError, match="as late as 2000 images"):
        combination([Profile(0.05, 1000)], Profile(0.05, 2000))
    with pytest.raises(ValueError, match="first snapshot was taken at 1000 images, and 999 are wanted"):
        combination([Profile(0.05, 1000)], Profile(0.05, 999))
    with pytest.raises(ValueError, match="and 0 are wanted"):
        combination([Profile(0.05, 1000)], Profile(0.05, 0), with_later=True)
    with pytest.raises(ValueError, match=r"say nothing about an average of width 0\.01 at 1000000 images"):
        combination([Profile(0.05, 10), Profile(0.05, 10_000_000)], Profile(0.01, 1_000_000))


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
    assert run([str(run_dir), "--width", "0.07", "--out", str(tmp_path / "model")]) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'model'}\n"
    assert re.fullmatch(r"width 0\.07: the fit is \d\.\d% off\n", said.err)
    assert run([str(run_dir), "--width", "0.27", "--images-seen", "50", "--out", str(tmp_path / "wide")]) == 0
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
    found = sorted(snapshot.profile.sigma_rel for snapshot in ema._snapshots(tmp_path))
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
