from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elucidiff import data
from tests.data.pictures import archive, encoded, noise, write
from tests.golden_files import GOLDEN, load

K = GOLDEN / "k_dataset"


@pytest.mark.parametrize(
    ("name", "options"), [("crop", {"resize": 16}), ("wide", {"resize": (8, 16), "crop": "wide"})]
)
def test_conversions_of_the_reference(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    _, tensors = load("k_dataset/arrays")
    imported = data.import_dataset(K / "source_by_class", tmp_path / "out", **options)
    dataset = data.open(tmp_path / "out")
    assert (imported.count, imported.shape, imported.enlarged) == (8, (3, 16, 16), 0)
    assert (dataset.images().int() - tensors[f"{name}/images"].int()).abs().max() <= 1
    assert torch.equal(dataset.labels(), tensors[f"{name}/labels"])
    assert dataset.class_names == ("ant", "moth", "zebra")


@pytest.mark.parametrize(
    "name", ["tiny_rgb.zip", "tiny_rgb_folder", "tiny_vector_labels.zip", "tiny_grey_nolabels.zip"]
)
def test_nothing_changes_without_a_reason(tmp_path: Path, name: str) -> None:
    original = data.open(K / name)
    imported = data.import_dataset(K / name, tmp_path / "out")
    dataset = data.open(tmp_path / "out")
    assert dataset.verify().sha256 == original.verify().sha256 == imported.sha256
    assert (dataset.name, dataset.label_dim, len(dataset)) == ("out", original.label_dim, len(original))
    assert torch.equal(dataset.images(), original.images())
    if original.label_dim:
        assert torch.equal(dataset.labels(), original.labels())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_arrays_of_any_dimension(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(70, 2, 3, 4, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    data.import_dataset(tmp_path / "x.npy", tmp_path / "out")
    dataset = data.open(tmp_path / "out")
    assert dataset.dtype == torch.float32
    assert np.array_equal(dataset.images().numpy(), array)
    with pytest.raises(ValueError, match=r"x has float32 data of shape \(2, 3, 4, 5\): only 8-bit images"):
        data.import_dataset(tmp_path / "x.npy", tmp_path / "other", resize=8)


def test_named_sets_and_provenance(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    data.import_dataset(
        "digits", tmp_path / "out", resize=10, crop="pad", channels=3, progress=lambda *a: calls.append(a)
    )
    dataset = data.open(tmp_path / "out")
    assert (dataset.shape, len(dataset), dataset.class_names[3]) == ((3, 10, 10), 1797, "3")
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["provenance"]["source"] == "digits"
    assert meta["provenance"]["settings"] == {"size": [10, 10], "crop": "pad", "channels": 3}
    assert meta["enlarged"] == 1797
    assert calls[-1] == ("converting", 1797, 1797)


def mixed(root: Path) -> Path:
    write(root / "cat" / "1.png", noise(1, 20, 30))
    write(root / "cat" / "2.jpg", noise(2, 16, 16, 1))
    write(root / "dog" / "3.png", noise(3, 40, 12, 4))
    return root


def test_mixed_sizes_and_channels(tmp_path: Path) -> None:
    source = mixed(tmp_path / "source")
    with pytest.raises(ValueError, match=r"1.png would be 3 channels of 30 x 20, but .*2.jpg .*; choose a size"):
        data.import_dataset(source, tmp_path / "out")
    with pytest.raises(ValueError, match=r"2.jpg 1 channel of 12 x 12; choose channels"):
        data.import_dataset(source, tmp_path / "out", resize=12)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    imported = data.import_dataset(source, tmp_path / "out", resize=14, channels=3)
    assert imported.enlarged == 1  # the one that is 12 wide
    images = data.open(tmp_path / "out").images()
    assert images.shape == (3, 3, 14, 14)
    assert torch.equal(images[1, 0], images[1, 2])


def test_threads_make_no_difference(tmp_path: Path) -> None:
    for index in range(150):
        write(tmp_path / "source" / f"{index}.png", noise(index, 20 + index % 3, 30))
    sums = {
        data.import_dataset(tmp_path / "source", tmp_path / f"{workers}", resize=8, workers=workers).sha256
        for workers in (1, 2, 5)
    }
    assert len(sums) == 1


def test_broken_images(tmp_path: Path) -> None:
    source = mixed(tmp_path / "source")
    (source / "cat" / "0.png").write_bytes(b"no image")
    (source / "dog" / "9.png").write_bytes(encoded(noise(0, 40, 40))[:2000])
    options: dict[str, Any] = {"resize": 8, "channels": 1}
    with pytest.raises(ValueError, match=r"cannot read image .*/cat/0.png: not an image"):
        data.import_dataset(source, tmp_path / "out", **options)
    (source / "cat" / "0.png").unlink()
    with pytest.raises(ValueError, match=r"cannot read image .*/dog/9.png: "):
        data.import_dataset(source, tmp_path / "out", **options)
    shutil.rmtree(tmp_path / "out.partial")
    (source / "cat" / "0.png").write_bytes(b"no image")
    imported = data.import_dataset(source, tmp_path / "out", skip_broken=True, **options)
    assert imported.skipped == (
        f"cannot decode image {source}/dog/9.png",
        f"cannot read image {source}/cat/0.png: not an image",
    )
    dataset = data.open(tmp_path / "out")
    assert len(dataset) == imported.count == 3
    assert dataset.classes is not None
    assert dataset.classes.tolist() == [0, 0, 1]
    assert dataset.verify().sha256 == imported.sha256
    for path in source.rglob("*.*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="holds no image that is not broken"):
        data.import_dataset(source, tmp_path / "none", skip_broken=True, resize=8)


def test_an_import_that_is_complete_is_left_alone(tmp_path: Path) -> None:
    first = data.import_dataset("digits", tmp_path / "out")
    stamp = (tmp_path / "out" / "images.npy").stat().st_mtime_ns
    assert data.import_dataset("digits", tmp_path / "out") == first
    assert (tmp_path / "out" / "images.npy").stat().st_mtime_ns == stamp
    with pytest.raises(FileExistsError, match="out holds other data, or was imported with other settings"):
        data.import_dataset("digits", tmp_path / "out", resize=9)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(FileExistsError, match="full exists and is not an imported data set"):
        data.import_dataset("digits", tmp_path / "full")


class Stop(Exception):
    pass


@pytest.mark.parametrize("workers", [1, 3])
def test_a_stopped_import_goes_on_where_it_was(tmp_path: Path, workers: int) -> None:
    for index in range(400):
        write(tmp_path / "source" / f"{index:03d}.png", noise(index, 9, 9))
    (tmp_path / "source" / "007.png").write_bytes(encoded(noise(0, 40, 40))[:2000])
    whole = data.import_dataset(tmp_path / "source", tmp_path / "whole", resize=8, skip_broken=True)

    def run(stop_at: int) -> list[int]:
        seen: list[int] = []

        def progress(stage: str, done: int, total: int) -> None:
            if stage == "converting":
                assert total == 400
                seen.append(done)
                if done >= stop_at:
                    raise Stop

        options: dict[str, Any] = {"resize": 8, "skip_broken": True, "workers": workers, "progress": progress}
        data.import_dataset(tmp_path / "source", tmp_path / "out", **options)
        return seen

    with pytest.raises(Stop):
        run(128)
    with pytest.raises(FileNotFoundError, match="out is not finished: import it again"):
        data.open(str(tmp_path / "out"))
    with pytest.raises(
        ValueError, match=r"out.partial holds an unfinished import of other data or with other settings"
    ):
        data.import_dataset(tmp_path / "source", tmp_path / "out", resize=7, skip_broken=True)
    with pytest.raises(Stop):
        run(256)
    assert run(1000)[0] > 256
    assert (tmp_path / "out" / "images.npy").read_bytes() == (tmp_path / "whole" / "images.npy").read_bytes()
    again = data.import_dataset(tmp_path / "source", tmp_path / "out", resize=8, skip_broken=True)
    assert (again.sha256, again.skipped) == (whole.sha256, whole.skipped)


SCRIPT = """
import sys, time
import elucidiff.data.partial as partial
from elucidiff.data import import_dataset
partial._SECONDS_BETWEEN_SAVES = 0.0
import_dataset(sys.argv[1], sys.argv[2], resize=8, progress=lambda *a: (time.sleep(0.003), print(*a, flush=True)))
"""


def test_a_killed_import_goes_on_where_it_was(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (3000, 3, 9, 9), np.uint8))
    random = np.random.default_rng(1)
    for _ in range(3):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "x.npy"), str(tmp_path / "out")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.uniform(0, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    imported = data.import_dataset(tmp_path / "x.npy", tmp_path / "out", resize=8)
    whole = data.import_dataset(tmp_path / "x.npy", tmp_path / "whole", resize=8)
    assert imported.sha256 == whole.sha256 == data.open(tmp_path / "out").verify().sha256


def test_a_source_that_changed_is_not_mixed_with_what_was_done(tmp_path: Path) -> None:
    for index in range(200):
        write(tmp_path / "source" / f"{index:03d}.png", noise(index))

    def stop(stage: str, *_: int) -> None:
        if stage == "converting":
            raise Stop

    with pytest.raises(Stop):
        data.import_dataset(tmp_path / "source", tmp_path / "out", progress=stop)
    time.sleep(0.01)
    write(tmp_path / "source" / "000.png", noise(1000))
    with pytest.raises(ValueError, match="unfinished import of other data"):
        data.import_dataset(tmp_path / "source", tmp_path / "out")


def put_back(path: Path, content: bytes) -> None:
    """Other content of the same length, with the times that the file had."""
    status = path.stat()
    assert len(content) == status.st_size
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def stored(images: Any) -> dict[str, bytes]:
    return {f"{index:02d}.bmp": encoded(image.transpose(1, 2, 0), "bmp") for index, image in enumerate(images)}


@pytest.mark.parametrize("kind", ["x.npy", "x.npz", "packed.npz", "x.zip", "folder"])
def test_an_import_of_what_has_changed_since_is_refused(tmp_path: Path, kind: str) -> None:
    """Neither length nor time of the file tells, nor do the first and last image."""
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), np.uint8)
    changed = images.copy()
    changed[20:30] = 255 - changed[20:30]
    source = file = tmp_path / kind
    if kind == "folder":
        source.mkdir()
        for name, content in stored(images).items():
            (source / name).write_bytes(content)
        file, other = source / "25.bmp", stored(changed)["25.bmp"]
    else:
        save: dict[str, Any] = {"x.npy": np.save, "x.npz": np.savez, "packed.npz": np.savez_compressed}
        save["x.zip"] = lambda path, arrays: archive(path, stored(arrays))
        save[kind](source, changed)
        other = source.read_bytes()
        save[kind](source, images)
    first = data.import_dataset(source, tmp_path / "out")
    assert data.import_dataset(source, tmp_path / "out") == first
    if kind == "packed.npz":  # what was packed has another length
        file.write_bytes(other)
    else:
        put_back(file, other)
    with pytest.raises(FileExistsError, match=r"out was imported from \w+ when that held other data: remove it to"):
        data.import_dataset(source, tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    assert data.import_dataset(source, tmp_path / "out").sha256 != first.sha256


def test_files_that_were_only_touched_are_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(64, dtype=np.uint8).reshape(4, 1, 4, 4))
    first = data.import_dataset(tmp_path / "x.npy", tmp_path / "out")
    os.utime(tmp_path / "x.npy", ns=(0, 0))
    assert data.import_dataset(tmp_path / "x.npy", tmp_path / "out") == first


def test_what_changed_while_an_import_was_stopped_is_noticed_again_and_again(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (200, 1, 8, 8), np.uint8)
    path, other = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(path, images)
    before = path.read_bytes()
    images[3] = 255 - images[3]
    np.save(other, images)

    def stop(stage: str, *_: int) -> None:
        if stage == "converting":
            raise Stop

    with pytest.raises(Stop):
        data.import_dataset(path, tmp_path / "out", progress=stop)
    put_back(path, other.read_bytes())
    for _ in range(2):
        with pytest.raises(ValueError, match="unfinished import of other data"):
            data.import_dataset(path, tmp_path / "out")
    path.write_bytes(before)
    assert data.import_dataset(path, tmp_path / "out").count == 200


def test_a_changed_import_is_noticed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    data.import_dataset(K / "tiny_rgb.zip", out)
    content = bytearray((out / "images.npy").read_bytes())
    content[-1] ^= 1
    (out / "images.npy").write_bytes(content)
    for dataset in (data.open(out), data.open(out).in_memory()):
        with pytest.raises(ValueError, match=r"^out has changed since it was imported"):
            dataset.verify()
    assert data.open(out, max_size=5).verify().count == 5  # a part has a checksum of its own


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images.npy", b"short", "out is damaged"),
        ("labels.npy", b"", "out is damaged"),
        ("meta.json", b"{", "meta.json is damaged"),
        ("meta.json", b'{"format": "elucidiff-data", "version": 99}', "is of format elucidiff-data 99"),
    ],
)
def test_damaged_imports(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    data.import_dataset(K / "tiny_rgb.zip", tmp_path / "out")
    (tmp_path / "out" / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.open(tmp_path / "out")


@pytest.mark.parametrize("label_dim", [3, 10**8, 10**40])
def test_other_classes_than_meta_json_names(tmp_path: Path, label_dim: int) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 1, 2, 2), np.uint8), labels=np.array([0, 7, 0, 7]))
    data.import_dataset(tmp_path / "x.npz", tmp_path / "out")
    path = tmp_path / "out" / "meta.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps(meta | {"label_dim": label_dim}))
    with pytest.raises(ValueError, match=rf"meta.json is damaged \(2 class_names, but label_dim {label_dim}\)"):
        data.open(tmp_path / "out")


def test_other_images_than_meta_json_says(tmp_path: Path) -> None:
    data.import_dataset(K / "tiny_rgb.zip", tmp_path / "out")
    np.save(tmp_path / "out" / "images.npy", np.zeros((3, 1, 2), np.uint8))
    with pytest.raises(ValueError, match=r"holds uint8 \(3, 1, 2\), which is not what was imported"):
        data.open(tmp_path / "out")


def test_a_disk_that_is_too_small_is_noticed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"GB are needed, but 1e-06 GB are free"):
        data.import_dataset("digits", tmp_path / "out")


def test_importing_needs_no_pytorch(tmp_path: Path) -> None:
    script = "import sys, elucidiff.data as d; d.import_dataset(*sys.argv[1:]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script, str(K / "tiny_rgb.zip"), str(tmp_path / "out")], check=True)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to measure memory")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """A file ten times as large takes at most 40 MB more, though it holds 270 MB more."""
    script = (
        "import sys; from elucidiff.data import import_dataset as f; f(*sys.argv[1:]);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks = []
    for count in (10_000, 100_000):
        np.lib.format.open_memmap(tmp_path / f"{count}.npy", "w+", np.uint8, (count, 3, 32, 32)).flush()
        arguments = [str(tmp_path / f"{count}.npy"), str(tmp_path / f"out{count}")]
        result = subprocess.run(
            [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True
        )
        peaks.append(int(result.stdout) / 1024)
    assert peaks[1] - peaks[0] < 40
    assert peaks[1] < 200


def test_changed_labels_are_noticed(tmp_path: Path) -> None:
    data.import_dataset(K / "tiny_rgb.zip", tmp_path / "out")
    labels = np.load(tmp_path / "out" / "labels.npy")
    np.save(tmp_path / "out" / "labels.npy", labels[::-1].copy())
    with pytest.raises(ValueError, match=r"labels.npy has changed since it was imported"):
        data.open(tmp_path / "out")
    # The same bytes, said to be times.
    np.save(tmp_path / "out" / "labels.npy", labels.astype("timedelta64[s]"))
    with pytest.raises(ValueError, match=r"labels.npy: labels are timedelta64\[s\] \(20,\), but must be classes"):
        data.open(tmp_path / "out")
