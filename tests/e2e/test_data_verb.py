"""Import and inspect through the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import elucidiff as ed
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
    done = elucidiff("data", "inspect", tmp_path / "a.npy")
    assert done.returncode == 0, done.stderr
    assert f"{images.mean():.3f}"[:4] in done.stdout
    assert "1 groups" in done.stdout
    assert "sigma_data │ 0.5" in done.stdout


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
