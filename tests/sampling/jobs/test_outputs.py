"""Each format is what its readers expect, and equal samples are equal bytes."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elucidiff as ed
from elucidiff.sampling.jobs import OUTPUTS
from elucidiff.sampling.jobs.outputs import Label, Output, SampleFile, encoded

X = torch.linspace(-1, 1, 3 * 16).reshape(3, 1, 4, 4)
CLASSES: tuple[Label, ...] = (2, 0, 11)
VECTORS: tuple[Label, ...] = ([0.5, -1.0], [0.25, 0.0], [1.0, 2.0])


def write(output: Output, job: Path, index: int, some: Iterable[SampleFile]) -> None:
    with output.shard(job, index) as take:
        for sample in some:
            take(sample)


def samples(labels: tuple[Label, ...] | None, pictures: bool = True) -> Iterator[SampleFile]:
    for k, content in enumerate(encoded(ed.sampling.to_uint8(X) if pictures else X)):
        name = f"{40 + k:08d}.{'png' if pictures else 'npy'}"
        yield SampleFile(name, content, 40 + k, 7, None if labels is None else labels[k])


def pixels(content: bytes) -> list[list[int]]:
    with Image.open(io.BytesIO(content)) as image:
        listed: list[list[int]] = np.asarray(image).tolist()
    return listed


def test_pictures_and_arrays() -> None:
    expected = ed.sampling.to_uint8(X)
    assert [pixels(content) for content in encoded(expected)] == expected[:, 0].tolist()
    colours = expected.reshape(1, 3, 4, 4)
    assert pixels(encoded(colours)[0]) == colours[0].permute(1, 2, 0).tolist()
    arrays = [np.load(io.BytesIO(content), allow_pickle=False) for content in encoded(X / 3)]
    np.testing.assert_array_equal(arrays, X / 3)
    assert arrays[0].dtype == np.float32
    volume = expected.reshape(1, 3, 2, 2, 4)  # of 8 bits, but no picture
    np.testing.assert_array_equal(np.load(io.BytesIO(encoded(volume)[0]), allow_pickle=False), volume[0])


@pytest.mark.parametrize("labels", [CLASSES, VECTORS, None])
def test_a_tar_is_a_webdataset(tmp_path: Path, labels: tuple[Label, ...] | None) -> None:
    write(OUTPUTS["tar"], tmp_path, 5, samples(labels))
    with tarfile.open(tmp_path / "000005.tar") as archive:
        members = archive.getmembers()
        inside = {entry.name: archive.extractfile(entry).read() for entry in members}  # type: ignore[union-attr]
    kind = [] if labels is None else ["cls" if labels is CLASSES else "json"]
    assert [entry.name for entry in members] == [f"{k:08d}.{end}" for k in (40, 41, 42) for end in ("png", *kind)]
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.mode) for entry in members} == {
        (0, 0, 0, "", 0o644)
    }
    assert [pixels(inside[f"{k:08d}.png"]) for k in (40, 41, 42)] == ed.sampling.to_uint8(X)[:, 0].tolist()
    if labels is CLASSES:
        assert [int(inside[f"{k:08d}.cls"]) for k in (40, 41, 42)] == list(CLASSES)
    if labels is VECTORS:
        assert [json.loads(inside[f"{k:08d}.json"])["label"] for k in (40, 41, 42)] == list(VECTORS)


@pytest.mark.parametrize("output", ["zip", "subfolders"])
@pytest.mark.parametrize("labels", [CLASSES, VECTORS, None])
def test_zips_and_folders_can_be_trained_on(tmp_path: Path, output: str, labels: tuple[Label, ...] | None) -> None:
    write(OUTPUTS[output], tmp_path, 0, samples(labels))
    data = ed.data.open(tmp_path / OUTPUTS[output].name(0))
    assert len(data) == 3
    for k in range(3):
        image, label = data[k]
        assert torch.equal(torch.as_tensor(image), ed.sampling.to_uint8(X[k]))
        if labels is None:
            assert label is None
        else:
            assert label is not None
            if labels is VECTORS:
                np.testing.assert_array_equal(np.asarray(label), labels[k])
            else:
                assert data.class_names[int(label.argmax())] == str(labels[k])


@pytest.mark.parametrize("output", list(OUTPUTS))
@pytest.mark.parametrize("pictures", [True, False])
def test_equal_samples_are_equal_bytes_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, pictures: bool
) -> None:
    kind = OUTPUTS[output]
    names = [sample.name for sample in samples(None, pictures)]
    write(kind, tmp_path / "one", 0, samples(CLASSES, pictures))
    monkeypatch.setattr("time.time", lambda: 2e9)
    write(kind, tmp_path / "other", 0, samples(CLASSES, pictures))
    files = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert files
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
    checksum = kind.checksum(tmp_path / "one", 0, names)
    assert kind.checksum(tmp_path / "other", 0, names) == checksum
    for file in files:
        changed = tmp_path / "other" / file
        content = bytearray(changed.read_bytes())
        content[len(content) // 2] ^= 1
        changed.write_bytes(content)
        assert kind.checksum(tmp_path / "other", 0, names) != checksum
        changed.unlink()
        with pytest.raises(FileNotFoundError):
            kind.checksum(tmp_path / "other", 0, names)
        changed.write_bytes((tmp_path / "one" / file).read_bytes())


@pytest.mark.parametrize("output", list(OUTPUTS))
def test_a_shard_that_fails_leaves_what_was_there(tmp_path: Path, output: str) -> None:
    def fails() -> Iterator[SampleFile]:
        yield from list(samples(VECTORS))[:2]
        raise OSError("no room")

    kind = OUTPUTS[output]
    names = [sample.name for sample in samples(None)]
    write(kind, tmp_path, 0, samples(CLASSES))
    before = kind.checksum(tmp_path, 0, names)
    with pytest.raises(OSError, match="no room"):
        write(kind, tmp_path, 0, fails())
    assert kind.checksum(tmp_path, 0, names) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_zip_archives_are_sound(tmp_path: Path) -> None:
    write(OUTPUTS["zip"], tmp_path, 0, samples(CLASSES))
    with zipfile.ZipFile(tmp_path / "000000.zip") as archive:
        assert archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(archive.read("dataset.json")) == {
            "labels": [["00000040.png", 2], ["00000041.png", 0], ["00000042.png", 11]]
        }
