"""Data sets that are damaged or made to harm: each is read, or refused in one line that names the file."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from elucidiff import data
from elucidiff.data.npy import read_arrays
from tests.data.pictures import encoded, noise
from tests.mutations import outcomes

PIL.Image.init()  # imports its readers, which it would else do while it is watched


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(save: Callable[..., None]) -> bytes:
    file = io.BytesIO()
    save(file, images=pictures(), labels=np.array([0, 1, 0, 1]))
    return file.getvalue()


def pictures() -> Any:
    return np.random.default_rng(0).integers(0, 256, (4, 3, 4, 4), np.uint8)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.png", encoded(noise(number)))
        archive.writestr("dataset.json", json.dumps({"labels": [[f"{number}.png", number] for number in range(3)]}))
    return file.getvalue()


def everything(path: Path) -> None:
    dataset = data.open(path)
    for row in range(len(dataset)):
        dataset[row]


NPY, STORED, PACKED, ZIP = npy(pictures()), npz(np.savez), npz(np.savez_compressed), zipped()


@pytest.mark.parametrize(
    ("name", "sound", "places"),
    [
        ("x.npy", NPY, range(128)),
        ("x.npz", STORED, [*range(40), *range(len(STORED) - 200, len(STORED))]),
        ("x.npz", PACKED, [*range(40), *range(len(PACKED) - 200, len(PACKED))]),
        ("x.zip", ZIP, [*range(40), *range(len(ZIP) - 400, len(ZIP))]),
    ],
)
def test_damaged_files_give_one_line_or_images(tmp_path: Path, name: str, sound: bytes, places: Any) -> None:
    found = outcomes(everything, tmp_path / name, sound, 100, places=places)
    assert len(found.messages) > 20


def test_damaged_statistics_give_one_line_or_arrays(tmp_path: Path) -> None:
    found = outcomes(read_arrays, tmp_path / "x.npz", PACKED, 150)
    assert len(found.messages) > 50


def test_damaged_idx_files_give_one_line_or_images(tmp_path: Path) -> None:
    images = bytes([0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 3, *range(36)])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 0, 1]))
    for name, sound in (("train-images-idx3-ubyte", images), ("train-images-idx3-ubyte.gz", gzip.compress(images))):
        found = outcomes(lambda path: everything(path.parent), tmp_path / name, sound, 100, places=range(16))
        assert len(found.messages) > 20
        (tmp_path / name).unlink()


def test_damaged_imports_give_one_line_or_images(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(STORED)
    data.import_dataset(tmp_path / "x.npz", tmp_path / "out")
    for name in ("meta.json", "images.npy", "labels.npy"):
        sound = (tmp_path / "out" / name).read_bytes()

        def reader(path: Path) -> None:
            try:
                everything(path.parent)
            except ValueError as error:
                # Which of the files is wrong cannot always be told: they do not fit each other.
                raise ValueError(str(error).replace(str(path.parent), f"{path.name} or its like")) from None

        found = outcomes(reader, tmp_path / "out" / name, sound, 60, places=range(100))
        assert len(found.messages) > 40
        (tmp_path / "out" / name).write_bytes(sound)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (17592186044416,), }",
            "70,368,744,177,664 bytes, but only",
        ),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 3, 4, 4), }", "a negative length"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (" + "9" * 4000 + ",), }", "cannot read"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': " + "(" * 3000 + ", }", "cannot read"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (4, 3, 4, 4), }", "Python objects"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (4, 3, 4, 4", "cannot read"),
        ("{'descr': '\x1b[2J', 'fortran_order': False, 'shape': (4, 3, 4, 4), }", "cannot read"),
        ("__import__('os').system('true')", "cannot read"),
    ],
)
def test_headers_that_promise_too_much(tmp_path: Path, header: str, message: str) -> None:
    text = header.encode("latin-1") + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(192)
    (tmp_path / "x.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", content)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(ValueError, match=message) as error:
            data.open(tmp_path / name)
        assert name in str(error.value)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 1000


def test_archives_that_unpack_to_far_more_than_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elucidiff.data.npy._MOST_UNPACKED", 1 << 22)
    monkeypatch.setattr("elucidiff.data.standard_sets._ALWAYS_UNPACKED", 1 << 22)
    zeros = npy(np.zeros((1, 1), np.uint8))
    header = zeros[:-1].replace(b"(1, 1), }        ", b"(005242880, 2), }")
    with (
        zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w") as file,
    ):
        file.write(header)
        for _ in range(32):
            file.write(bytes(1 << 24))
    with pytest.raises(ValueError, match="unpacks to much more than its size"):
        read_arrays(tmp_path / "x.npz")
    content = bytes([0, 0, 8, 3, *(1 << 20).to_bytes(4, "big"), 0, 0, 0, 3, 0, 0, 0, 3])
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 0, 1]))
    with pytest.raises(ValueError, match="another number of values, but its header says"):
        data.open(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.zip", "x.parquet"])
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is neither a regular file nor a folder"):
        data.open(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=f"{name} is neither a regular file nor a folder"):
        data.open(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(name)
    with pytest.raises(OSError, match=name):
        data.open(tmp_path / name)


def test_pipes_in_an_imported_folder(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(STORED)
    data.import_dataset(tmp_path / "x.npz", tmp_path / "out")
    for name in ("images.npy", "labels.npy"):
        shutil.copytree(tmp_path / "out", tmp_path / name)
        (tmp_path / name / name).unlink()
        (tmp_path / name / name).symlink_to("/dev/zero")
        with pytest.raises((ValueError, OSError), match=r"a device|no images|not a regular"):
            data.open(tmp_path / name)
