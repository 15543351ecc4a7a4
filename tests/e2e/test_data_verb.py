"""Import and inspect through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import elucidiff as ed
from tests.data.pictures import encoded, noise, write
from tests.e2e.conftest import Run


def test_import_then_open(elucidiff: Run, tmp_path: Path) -> None:
    done = elucidiff("data", "import", "digits", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    assert "1,797 images of 1x8x8, labels of width 10" in done.stdout
    imported, digits = ed.data.open(tmp_path / "set"), ed.data.open("digits")
    np.testing.assert_array_equal(imported.images(), digits.images())
    assert imported.verify().sha256 == digits.verify().sha256


def test_inspect_measures_and_recommends(elucidiff: Run, tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(0.1, 0.5, (200, 1, 4, 4)).astype(np.float32)
    np.save(tmp_path / "a.npy", np.concatenate([images, images[:1]]))
    done = elucidiff("data", "inspect", tmp_path / "a.npy", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert f"{images.mean():.3f}"[:4] in done.stdout
    assert "1 groups" in done.stdout
    assert "sigma_data │ 0.5" in done.stdout
    assert "equal: image 0 = image 200" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "contact-sheet.png", "report.json", "report.txt",
    ]  # fmt: skip
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["duplicates"] == [["image 0", "image 200"]]
    assert report["sigma_data"] == pytest.approx(0.5, abs=0.02)
    assert len(report["curve"]["sigma"]) == len(report["curve"]["linear"])
    assert "equal: image 0 = image 200" in (tmp_path / "out" / "report.txt").read_text()


def test_broken_files_and_duplicates_are_called_by_their_names(elucidiff: Run, tmp_path: Path) -> None:
    for index in range(30):
        write(tmp_path / "in" / ("cat" if index < 10 else "dog") / f"{index:02d}.png", noise(index, 16, 16))
    write(tmp_path / "in" / "dog" / "30.png", noise(4, 16, 16))
    (tmp_path / "in" / "cat" / "03.png").write_bytes(b"")
    (tmp_path / "in" / "dog" / "20.png").write_bytes(encoded(noise(20, 16, 16))[:200])
    done = elucidiff("data", "inspect", tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "equal: cat/04.png = dog/30.png" in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["duplicates"] == [["cat/04.png", "dog/30.png"]]
    assert report["unreadable"] == ["dog/20.png"]
    assert [text.split(":")[0].rpartition("/")[2] for text in report["broken"]] == ["03.png", "20.png"]
    with Image.open(tmp_path / "out" / "contact-sheet.png") as sheet:
        assert min(sheet.size) > 300


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((40, 2, 12), "a colour a channel"),
        ((40, 1, 5, 6, 7), "channel by channel"),
        ((40, 2, 8, 8), "channel by channel"),
        ((40, 3), "no contact sheet: samples of shape (3,) cannot be drawn"),
    ],
)
def test_what_is_no_picture_is_shown_as_it_can_be(
    elucidiff: Run, tmp_path: Path, shape: tuple[int, ...], says: str
) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=shape).astype(np.float32))
    done = elucidiff("data", "inspect", tmp_path / "a.npy", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert (tmp_path / "out" / "contact-sheet.png").exists() == (len(shape) > 2)


def test_a_model_is_compared_with_the_ideal(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    done = elucidiff("data", "inspect", "digits", "--model", trained / "model", "--out", tmp_path, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())["model"]
    shares = report["shares"]
    assert sum(shares.values()) == pytest.approx(1)
    said = " ".join(done.stdout.split())
    assert (
        f"{shares['pays'] + shares['ideal']:.0%} of the training draws" in said or "Nowhere does this model" in said
    )
    # Where noise drowns all but the class, the ideal denoiser is as good as the linear one, and no better.
    assert report["memory"][-1] == pytest.approx(report["linear"][-1], rel=0.01)
    assert (tmp_path / "loss-per-sigma.png").exists()
    assert (tmp_path / "loss-per-sigma.svg").exists()


def test_a_model_of_other_data_is_refused_before_any_work(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((9, 1, 4, 4), np.uint8))
    for source, says in ((tmp_path / "a.npy", "(1, 8, 8)"), (tmp_path / "b.npy", "labels")):
        if says == "labels":
            np.save(source, np.zeros((9, 1, 8, 8), np.uint8))
        done = elucidiff("data", "inspect", source, "--model", trained / "model", "--out", tmp_path / "out")
        assert done.returncode == 2
        assert says in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("inspcet", "digits"), "did you mean 'inspect'?"),
        (("inspect", "no/such/folder"), "no/such/folder"),
        (("import", "digits", "out", "--resize", "0"), "0"),
    ],
)
def test_mistakes(elucidiff: Run, tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    done = elucidiff("data", *[str(tmp_path / word) if word == "out" else word for word in words])
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_importing_needs_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from elucidiff.cli.main import main\n"
        "assert main(['data', 'import', 'digits', sys.argv[1]]) == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "set")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
