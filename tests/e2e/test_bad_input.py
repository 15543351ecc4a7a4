"""Every mistake: one line on stderr that names it, exit code 2, nothing written."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import Run


def refused(run: Run, *words: str | Path) -> str:
    """The one line that ``elucidiff words`` prints as it refuses."""
    done = run(*words)
    assert done.returncode == 2, (done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tarin",), "did you mean 'train'?"),
        (("train", "digts"), "unknown preset 'digts'; did you mean 'digits'?"),
        (("train", "digits", "--batch-siez", "3"), "did you mean --batch-size?"),
        (("train", "digits", "--batch-size", "many"), "--batch-size"),
        (("train", "digits", "--batch-size", "0"), "batch_size"),
        (("train", "digits", "--validation-images", "5000"), "5000"),
        (("train", "digits", "--device", "cuda:99"), "cuda:99"),
        (("train", "no/such/config.yaml"), "no/such/config.yaml"),
        (("sample", "no/such/model"), "no/such/model"),
        (("figure", "stesp"), "did you mean 'steps'?"),
        (("figure", "steps", "--n", "1"), "at least 2"),
        (("figure", "steps", "--rho", "0"), "rho is 0"),
    ],
)
def test_mistakes_that_need_no_model(elucidiff: Run, words: tuple[str, ...], says: str) -> None:
    assert says in refused(elucidiff, *words)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--seeds", "1-x"), "neither a number nor a range"),
        (("--seeds", "9-3"), "runs backwards"),
        (("--seeds", "1,1"), "same seed twice"),
        (("--n", "1"), "at least 2"),
        (("--rho", "-1"), "rho"),
        (("--sigma-min", "5", "--sigma-max", "2"), "sigma_min"),
        (("--solver", "rk2", "--alpha", "0"), "alpha is 0"),
        (("--churn", "-1"), "-1"),
        (("--solver", "rk45", "--churn", "5"), "churn"),
        (("--labels", "10"), "class 10 is out of range, the model knows 0 to 9"),
        (("--labels", "cat"), "--labels"),
        (("--batch-size", "0"), "batch"),
        (("--device", "tpu"), "tpu"),
        (("--solver", "hoin"), "--solver"),
    ],
)
def test_mistakes_in_sampling(
    elucidiff: Run, trained: Path, tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    assert says in refused(elucidiff, "sample", trained / "model", "--out", tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_damaged_models(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    weights = (trained / "model" / "model.safetensors").read_bytes()
    facts = (trained / "model" / "model.json").read_text()
    for name, content, text in (
        ("truncated", weights[: len(weights) // 2], facts),
        ("not-json", weights, facts[:-40]),
        ("other-format", weights, facts.replace("elucidiff-model", "something-else")),
        ("nan", weights[:-4] + np.float32(np.nan).tobytes(), facts),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(content)
        (folder / "model.json").write_text(text)
        assert str(folder) in refused(elucidiff, "sample", folder, "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists()


def _picture(size: tuple[int, int] = (8, 8), mode: str = "L") -> bytes:
    data = io.BytesIO()
    Image.new(mode, size).save(data, "PNG")
    return data.getvalue()


def test_damaged_data(elucidiff: Run, tmp_path: Path) -> None:
    good = _picture()
    folders = {
        "empty": ({}, "empty"),
        "corrupt": ({"a.png": good, "b.png": good[:-30]}, "b.png"),
        "sizes": ({"a.png": good, "b.png": _picture((9, 8))}, "b.png"),
        "channels": ({"a.png": good, "b.png": _picture(mode="RGB")}, "b.png"),
        "labels": ({"a.png": good, "dataset.json": b'{"labels": [["a.png", -3]]}'}, "-3"),
    }
    for name, (files, says) in folders.items():
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
        assert says in refused(elucidiff, "train", "digits", "--data", tmp_path / name, "--run-dir", tmp_path / "run")
    np.save(tmp_path / "nan.npy", np.full((20, 1, 8, 8), np.nan, np.float32))
    assert "nan.npy" in refused(
        elucidiff, "train", "digits", "--data", tmp_path / "nan.npy", "--run-dir", tmp_path / "r"
    )
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.png", good)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "set.zip").read_bytes()[:-10])
    assert "cut.zip" in refused(
        elucidiff, "train", "digits", "--data", tmp_path / "cut.zip", "--run-dir", tmp_path / "r"
    )
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_named_and_nothing_is_half_written(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    """/dev/full cannot hold a folder; a folder without permission to write or a file in its place is the next best."""
    (tmp_path / "out").write_text("a file where the folder should be")
    line = refused(elucidiff, "sample", trained / "model", "--seeds", "0-1", "--n", "2", "--out", tmp_path / "out")
    assert str(tmp_path / "out") in line
    assert (tmp_path / "out").read_text() == "a file where the folder should be"
