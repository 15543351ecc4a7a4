"""Checkpoints that are whole or absent: damage, full disks, and what is kept."""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from elucidiff.training.checkpoint import Checkpoint, CheckpointFolder


def checkpoint(images_seen: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(images_seen)
    tensors = {"network.weight": torch.randn(30, 40, generator=generator), "adam.step.weight": torch.tensor(3.0)}
    return Checkpoint(images_seen, {"step": images_seen // 4, "seconds": 1.25, "config": {"lr": 1e-3}}, tensors)


def assert_same(found: Checkpoint | None, expected: Checkpoint) -> None:
    assert found is not None
    assert found.images_seen == expected.images_seen
    assert dict(found.state) == dict(expected.state)
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert torch.equal(found.tensors[name], tensor)


def test_round_trip(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    assert folder.newest() is None
    folder.save(checkpoint(100))
    folder.save(checkpoint(200))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(folder.newest(), checkpoint(200))


def test_strided_tensors_keep_their_values(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    image = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    folder.save(Checkpoint(1, {}, {"image": image}))
    found = folder.newest()
    assert found is not None
    assert torch.equal(found.tensors["image"], image)


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    file = CheckpointFolder(tmp_path).save(checkpoint(100))
    digest, name = (tmp_path / "000000000100.sha256").read_text().split()
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert name == file.name


def test_the_newest_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    for images_seen in (100, 900, 1000, 20_000):
        folder.save(checkpoint(images_seen))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000000001000.safetensors",
        "000000001000.sha256",
        "000000020000.safetensors",
        "000000020000.sha256",
    ]


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-50] ^= 1
    file.write_bytes(content)


def _forget_checksum(file: Path) -> None:
    file.with_suffix(".sha256").unlink()


def _garble_checksum(file: Path) -> None:
    file.with_suffix(".sha256").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize("damage", [_truncate, _flip_a_bit, _forget_checksum, _garble_checksum, Path.unlink])
def test_a_damaged_newest_one_is_skipped_with_a_warning(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(100))
    damage(folder.save(checkpoint(200)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert_same(folder.newest(), checkpoint(100))
    if damage is not Path.unlink:
        assert "000000000200" in str(caught[0].message)


def test_a_file_with_a_right_checksum_that_is_no_checkpoint_is_skipped(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    file = folder.save(checkpoint(200))
    file.write_bytes(b"not safetensors")
    file.with_suffix(".sha256").write_text(f"{hashlib.sha256(b'not safetensors').hexdigest()}  {file.name}\n")
    with pytest.warns(UserWarning, match="not a checkpoint"):
        assert folder.newest() is None


def test_after_damage_the_run_overtakes_the_damaged_one(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save(checkpoint(100))
    _truncate(folder.save(checkpoint(800)))
    folder.save(checkpoint(400))
    assert_same(folder.newest(), checkpoint(400))


def test_a_failing_write_leaves_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save(checkpoint(100))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        folder.save(checkpoint(200))
    assert_same(folder.newest(), checkpoint(100))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_size_limit_leaves_the_last_good_one(tmp_path: Path) -> None:
    """The system's own refusal, in the middle of a file."""
    CheckpointFolder(tmp_path).save(checkpoint(100))
    script = f"""
import resource, torch
from elucidiff.training.checkpoint import Checkpoint, CheckpointFolder
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))
try:
    CheckpointFolder({str(tmp_path)!r}).save(Checkpoint(200, {{}}, {{"large": torch.zeros(100_000)}}))
except OSError as error:
    print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.startswith("refused:")
    assert_same(CheckpointFolder(tmp_path).newest(), checkpoint(100))
    assert len(list(tmp_path.iterdir())) == 2


def test_clean_removes_only_what_was_left_half_written(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(100))
    for name in (".000000000200-0a1b2c3d.safetensors", ".000000000200-0a1b2c3d.sha256", ".notes"):
        (tmp_path / name).touch()
    folder.clean()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".notes",
        "000000000100.safetensors",
        "000000000100.sha256",
    ]
