"""``elucidiff sample --backend``: the same samples, whole jobs by one backend, and clear words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elucidiff.denoisers.backends import onnx, pytorch
from tests.e2e.conftest import Run
from tests.e2e.test_bad_input import refused
from tests.sampling.jobs.tiny import contents

FAST = ("--n", "3", "--device", "cpu")


def pictures(folder: Path) -> np.ndarray:
    return np.stack([np.array(Image.open(path)).astype(int) for path in sorted(folder.glob("*.png"))])


def test_auto_for_a_few_samples(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    done = elucidiff("sample", trained / "model", "--out", tmp_path / "out", "--seeds", "0-3", *FAST)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("backend eager: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("of computing at most, too little for another to pay\n")
    assert json.loads((tmp_path / "out" / "samples.json").read_text())["backend"] == "eager"


def test_not_installed(elucidiff: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "is_installed", lambda: False)
    said = refused(elucidiff, "sample", trained / "model", "--out", tmp_path / "out", "--backend", "onnx", *FAST)
    assert "the backend onnx needs packages that are not installed: pip install 'elucidiff[onnx]'" in said
    assert not (tmp_path / "out").exists()


def test_no_compiler(elucidiff: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: object) -> None:
        raise RuntimeError("No working\nC++ compiler found")

    monkeypatch.setattr(pytorch, "try_compiler", fail)
    pytorch.require_compiler.cache_clear()
    said = refused(elucidiff, "sample", trained / "model", "--out", tmp_path / "out", "--backend", "compile", *FAST)
    assert "cannot compile networks here (No working C++ compiler found): use the backend eager, or install" in said


@pytest.mark.slow
def test_onnx_in_one_process_and_in_two_with_a_break(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    def draw(out: str, *more: str) -> None:
        flags = ("--seeds", "0-63", "--format", "tar", "--shard-size", "16", *FAST)
        done = elucidiff("sample", trained / "model", "--out", tmp_path / out, *flags, *more)
        assert done.returncode == 0, done.stderr

    draw("one", "--backend", "onnx", "--processes", "1")
    draw("two", "--backend", "onnx", "--processes", "2")
    (tmp_path / "two" / "000001.tar").unlink()
    draw("two", "--processes", "1")  # auto, which keeps it
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    one.pop("job.json"), two.pop("job.json")
    assert one == two


@pytest.mark.slow
def test_onnx_draws_the_same_pictures(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    for backend in ("eager", "onnx"):
        done = elucidiff(
            "sample", trained / "model", "--out", tmp_path / backend, "--backend", backend, "--seeds", "0-31", *FAST
        )
        assert done.returncode == 0, done.stderr
    eager, other = pictures(tmp_path / "eager"), pictures(tmp_path / "onnx")
    assert np.abs(eager - other).max() <= 1
    assert (eager != other).mean() < 0.01
    assert eager.std() > 20
