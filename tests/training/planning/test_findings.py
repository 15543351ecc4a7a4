"""What a plan is told of a data set, and the command for one that has to be imported first."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elucidiff.cli.main import main
from elucidiff.data import AsStored
from elucidiff.training.planning import findings as module
from elucidiff.training.planning import look_at


def save(folder: Path, *pictures: tuple[str, tuple[int, int]], seed: int = 0) -> Path:
    """Pictures of given modes and sizes."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number, (mode, (width, height)) in enumerate(pictures):
        channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
        values = random.integers(0, 256, (height, width, *channels), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number:03d}.png")
    return folder


def test_flat_folders_of_any_alike_pictures_are_ready(tmp_path: Path) -> None:
    found = look_at(save(tmp_path / "wide", *[("RGB", (24, 16))] * 12))
    assert (found.count, found.shape, found.label_dim, found.pictures) == (12, (3, 16, 24), 0, True)
    assert found.sigma_data == pytest.approx(0.58, abs=0.011)  # of uniform levels, 2 / sqrt(12)
    assert found.kept is None
    assert look_at(save(tmp_path / "grey", *[("L", (8, 8))] * 12)).shape == (1, 8, 8)
    assert look_at(save(tmp_path / "alpha", *[("RGBA", (8, 8))] * 12)).shape == (4, 8, 8)


@pytest.mark.parametrize(
    ("pictures", "flags", "why"),
    [
        ([("RGB", (40, 30))] * 3 + [("RGB", (30, 60))] * 3, ["--resize", "28"], "2 different sizes"),
        ([("RGB", (32, 32))] * 3 + [("L", (32, 32))] * 3, ["--channels", "3"], "differ in mode (RGB and grey)"),
        (
            [("RGBA", (32, 32))] * 3 + [("L", (64, 32))] * 3,
            ["--resize", "32", "--channels", "3"],
            "2 different sizes",
        ),
        ([("RGB", (30, 50))] * 3, ["--resize", "28"], "cannot be halved twice"),
        ([("L", (300, 200))] * 3 + [("L", (300, 201))], ["--resize", "64"], "2 different sizes"),
    ],
)
def test_the_command_that_makes_them_ready_does_so(
    pictures: list[tuple[str, tuple[int, int]]],
    flags: list[str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "my pictures", *pictures)
    assert main(["train", "my pictures"]) == 2
    said = capsys.readouterr().err
    line = said.strip().splitlines()[-1]
    assert why in line
    command, then = (shlex.split(text) for text in line.split("`")[1::2])
    assert command == ["elucidiff", "data", "import", "my pictures", "data/my pictures", *flags]
    assert main(command[1:]) == 0
    assert then == ["elucidiff", "train", "data/my pictures"]
    assert look_at(then[-1]).count == len(pictures)
    assert not (tmp_path / "runs").exists()


def test_broken_pictures_are_left_out_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = save(tmp_path / "some", *[("RGB", (16, 16))] * 5)
    (folder / "002.png").write_bytes((folder / "002.png").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"002\.png.*`elucidiff data import some data/some --skip-broken`"):
        look_at("some")


def test_pictures_in_the_folder_that_imports_go_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "data" / "x", ("RGB", (16, 16)), ("RGB", (16, 20)))
    with pytest.raises(ValueError, match="data import data/x data/x-ready --resize 16`"):
        look_at("data/x")


def test_large_pictures_come_with_the_command_that_makes_them_smaller(tmp_path: Path) -> None:
    found = look_at(save(tmp_path / "large", *[("L", (128, 96))] * 3))
    assert found.smaller.endswith("--resize 64")
    assert look_at(save(tmp_path / "small", *[("L", (32, 32))] * 3)).smaller == ""


def test_what_was_inspected_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "some", *[("L", (8, 8))] * 20)
    measured = look_at("some")
    assert main(["data", "inspect", "some"]) == 0
    monkeypatch.setattr(module, "inspect", None)  # so that measuring again would fail
    kept = look_at("some")
    assert kept.kept == Path("inspected/some/report.json")
    assert {**vars(kept), "kept": None} == vars(measured)


@pytest.mark.parametrize("change", ["pixels", "damaged", "fewer"])
def test_a_report_about_other_pictures_is_not_believed(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = save(tmp_path / "some", *[("L", (8, 8))] * 20)
    assert main(["data", "inspect", "some"]) == 0
    if change == "pixels":
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "007.png")
    elif change == "fewer":
        (folder / "007.png").unlink()
    else:
        (tmp_path / "inspected" / "some" / "report.json").write_text('{"count": 20}')
    assert look_at("some").kept is None


def test_signals_and_volumes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, shape in (("signals", (30, 2, 64)), ("volumes", (20, 1, 8, 8, 4))):
        np.save(tmp_path / f"{name}.npy", random.normal(0, 3, shape).astype(np.float32))
        found = look_at(tmp_path / f"{name}.npy")
        assert (found.count, found.shape, found.pictures) == (shape[0], shape[1:], False)
        # Three standard deviations of the data; a denoiser sees one.
        assert (found.normalise, found.sigma_data) == ("standard", pytest.approx(1, rel=0.01))
        kept = look_at(tmp_path / f"{name}.npy", normalise=AsStored())
        assert (kept.normalise, kept.sigma_data) == ("none", pytest.approx(3, rel=0.05))
