from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from elucidiff import data
from elucidiff.data.dataset import Dataset


def _pictures(folder: Path, names: list[str], side: int, seed: int = 0) -> list[npt.NDArray[np.uint8]]:
    """Random RGB pictures, and their values ``(3, side, side)``."""
    draws, made = np.random.RandomState(seed), []
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = draws.randint(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
        made.append(pixels.transpose(2, 0, 1))
    return made


def test_two_folders_are_matched_by_name(tmp_path: Path) -> None:
    _pictures(tmp_path / "day", ["b.png", "a.png", "c.png"], 8)
    night = _pictures(tmp_path / "night", ["c.bmp", "spare.png", "a.png", "b.bmp"], 4, seed=1)
    with pytest.warns(UserWarning, match="night: 1 conditions have no image, and are left out"):
        dataset = data.open(tmp_path / "day", condition=tmp_path / "night")
    assert (dataset.shape, dataset.condition_shape, dataset.condition_made) == ((3, 8, 8), (3, 4, 4), "")
    # a, b and c, of which night has the third, the fourth and the first
    expected = torch.from_numpy(np.stack([night[2], night[3], night[0]]))
    assert torch.equal(dataset.conditions(), expected)  # type: ignore[arg-type]
    assert torch.equal(dataset.select([2, 0]).conditions([1]), expected[:1])  # type: ignore[arg-type]


def test_names_with_folders_come_before_bare_ones(tmp_path: Path) -> None:
    _pictures(tmp_path / "out", ["cat/1.png", "dog/1.png"], 8)
    made = _pictures(tmp_path / "in", ["dog/1.png", "cat/1.png"], 8, seed=1)
    dataset = data.open(tmp_path / "out", condition=tmp_path / "in")
    assert dataset.label_dim == 2
    assert torch.equal(dataset.conditions(), torch.from_numpy(np.stack([made[1], made[0]])))  # type: ignore[arg-type]
    # one folder may be flat, where names are different in themselves
    _pictures(tmp_path / "sorted", ["cat/1.png", "dog/2.png"], 8)
    flat = _pictures(tmp_path / "flat", ["2.png", "1.png"], 8, seed=2)
    dataset = data.open(tmp_path / "sorted", condition=tmp_path / "flat")
    assert torch.equal(dataset.conditions(), torch.from_numpy(np.stack([flat[1], flat[0]])))  # type: ignore[arg-type]


def test_pairs_that_do_not_match_are_named(tmp_path: Path) -> None:
    _pictures(tmp_path / "day", ["1.png", "2.png", "3.png"], 8)
    _pictures(tmp_path / "night", ["1.png", "4.png"], 8)
    with pytest.raises(ValueError, match=r"^pairs do not match: day/2\.png has no condition in night \(2 of 3 have"):
        data.open(tmp_path / "day", condition=tmp_path / "night")
    np.save(tmp_path / "two.npy", np.zeros((2, 1, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="pairs do not match: day has 3 images, but two 2 conditions"):
        data.open(tmp_path / "day", condition=tmp_path / "two.npy")
    _pictures(tmp_path / "twice", ["1.png", "1.bmp", "2.png", "3.png"], 8)
    with pytest.raises(ValueError, match="pairs do not match: twice has several files called 1"):
        data.open(tmp_path / "day", condition=tmp_path / "twice")
    with pytest.raises(ValueError, match=r"'nigth' is neither a data set .* nor one of downsample, grayscale, mask"):
        data.open(tmp_path / "day", condition="nigth")
    with pytest.raises(ValueError, match=r"downsample:factor=3 does not divide images of 8x8"):
        data.open(tmp_path / "day", condition="downsample:3")


def test_arrays_of_one_file(tmp_path: Path) -> None:
    pairs = {"images": np.arange(96.0).reshape(6, 1, 4, 4), "low": np.arange(48, dtype="f4").reshape(6, 2, 2, 2)}
    np.savez(tmp_path / "pairs.npz", **pairs)
    dataset = data.open(tmp_path / "pairs.npz", condition="column:low")
    assert np.array_equal(dataset.conditions([5, 0]), pairs["low"][[5, 0]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no array 'high': it holds images, low"):
        data.open(tmp_path / "pairs.npz", condition="column:high")
    with pytest.raises(ValueError, match="column:name=low is read from a file, and these images are not in one"):
        Dataset.from_arrays(pairs["images"], conditions="column:low")


def test_columns_of_what_has_none(tmp_path: Path) -> None:
    _pictures(tmp_path / "day", ["1.png"], 8)
    data.import_dataset(tmp_path / "day", tmp_path / "set")
    for source in (tmp_path / "day", tmp_path / "set", "digits"):
        with pytest.raises(ValueError, match="has no columns: column:name=low is for arrays in"):
            data.open(source, condition="column:low")


def test_columns_of_parquet(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    _pictures(tmp_path, [f"{name}{k}.png" for name in "xy" for k in range(4)], 8)

    def encoded(name: str) -> dict[str, bytes | None]:
        buffer = io.BytesIO()
        Image.open(tmp_path / name).save(buffer, "png")
        return {"bytes": buffer.getvalue(), "path": None}

    columns = {"image": [encoded(f"x{k}.png") for k in range(4)], "sketch": [encoded(f"y{k}.png") for k in range(4)]}
    (tmp_path / "set").mkdir()
    parquet.write_table(pyarrow.table(columns), tmp_path / "set" / "pairs.parquet")
    dataset = data.open(tmp_path / "set" / "pairs.parquet", condition="column:sketch")
    expected = np.asarray(Image.open(tmp_path / "y2.png")).transpose(2, 0, 1)
    assert np.array_equal(dataset.conditions([2])[0], expected)  # type: ignore[index]


def test_block_means_against_reshape() -> None:
    values = np.random.RandomState(0).rand(3, 2, 6, 4)
    dataset = Dataset.from_arrays(values, conditions="downsample:2")
    low = dataset.conditions()
    assert low is not None
    assert low.dtype == torch.float64
    assert low.shape == (3, 2, 3, 2)
    assert float(low[1, 0, 2, 1]) == pytest.approx(values[1, 0, 4:6, 2:4].mean(), abs=1e-15)
    signals = Dataset.from_arrays(np.arange(8.0).reshape(1, 1, 8), conditions="downsample:4")
    assert signals.conditions()[0, 0].tolist() == [1.5, 5.5]  # type: ignore[index]
    steps = Dataset.from_arrays(np.array([[[[1, 2], [2, 2]]]], np.uint8), conditions="downsample:2")
    assert int(steps.conditions()) == 2  # type: ignore[arg-type]  # 1.75 to the nearest


def test_the_box_of_an_image_stays_where_it_is() -> None:
    images = np.random.RandomState(0).randint(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    dataset = Dataset.from_arrays(images, conditions="mask:0.25")
    fields = dataset.conditions()
    assert fields is not None
    assert fields.shape == (20, 4, 8, 8)
    gaps = fields[:, 3] == 0
    assert gaps.flatten(1).sum(1).tolist() == [16] * 20
    assert len({tuple(gap.flatten().tolist()) for gap in gaps}) > 10
    colours = fields[:, :3].permute(0, 2, 3, 1)
    assert torch.equal(colours[~gaps], torch.from_numpy(images).permute(0, 2, 3, 1)[~gaps])
    assert colours[gaps].unique().tolist() == [128]
    assert torch.equal(dataset.select([7]).conditions(), fields[7:8])  # type: ignore[arg-type]


def test_conditions_are_mirrored_with_their_images() -> None:
    images = np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4)
    stored = np.arange(8.0).reshape(2, 1, 2, 2)
    dataset = Dataset.from_arrays(images, conditions=stored).with_mirror_images()
    assert dataset.conditions([2])[0, 0].tolist() == [[1, 0], [3, 2]]  # type: ignore[index]
    held = dataset.in_memory()
    assert torch.equal(held.conditions(), dataset.conditions())  # type: ignore[arg-type]
    assert held.verify() == dataset.verify()
    made = Dataset.from_arrays(images, conditions="downsample:2").with_mirror_images().in_memory()
    assert made.condition_made == "downsample:factor=2"
    assert made.conditions([3])[0, 0].tolist() == [[20, 18], [28, 26]]  # type: ignore[index]
    assert made.nbytes == 4 * (16 + 4)


def test_fingerprints_see_conditions() -> None:
    images, fields = np.zeros((3, 1, 4, 4), np.uint8), np.zeros((3, 1, 2, 2), np.uint8)
    bare, pairs = Dataset.from_arrays(images), Dataset.from_arrays(images, conditions=fields)
    changed = Dataset.from_arrays(images, conditions=fields + (np.arange(3)[:, None, None, None] == 2))
    digests = {each.verify().sha256 for each in (bare, pairs, changed)}
    assert len(digests) == 3
    assert pairs.without_conditions().verify() == bare.verify()
    assert pairs.verify().condition_shape == (1, 2, 2)


def test_imported_pairs_stay_pairs(tmp_path: Path) -> None:
    _pictures(tmp_path / "day", ["a.png", "b.png", "c.png"], 12)
    _pictures(tmp_path / "night", ["b.png", "a.png", "c.png"], 6, seed=1)
    before = data.open(tmp_path / "day", condition=tmp_path / "night")
    made = data.import_dataset(tmp_path / "day", tmp_path / "set", condition=tmp_path / "night")
    assert made.condition_shape == (3, 6, 6)
    after = data.open(tmp_path / "set")
    assert torch.equal(after.conditions(), before.conditions())  # type: ignore[arg-type]
    assert after.verify().sha256 == before.verify().sha256
    assert data.open(tmp_path / "set", condition="none").condition_shape == ()
    # the same import again is left alone; other conditions are another import
    again = data.import_dataset(tmp_path / "day", tmp_path / "set", condition=tmp_path / "night")
    assert again == made
    _pictures(tmp_path / "other", ["a.png", "b.png", "c.png"], 6, seed=2)
    with pytest.raises(FileExistsError, match="other data"):
        data.import_dataset(tmp_path / "day", tmp_path / "set", condition=tmp_path / "other")
    small = data.import_dataset(
        tmp_path / "day", tmp_path / "small", condition=tmp_path / "night", resize=8, condition_resize=3
    )
    assert (small.shape, small.condition_shape) == ((3, 8, 8), (3, 3, 3))


def test_an_import_that_was_killed_between_images_and_conditions(tmp_path: Path) -> None:
    _pictures(tmp_path / "day", ["a.png", "b.png"], 8)
    _pictures(tmp_path / "night", ["a.png", "b.png"], 8, seed=1)
    data.import_dataset(tmp_path / "day", tmp_path / "set", condition=tmp_path / "night")
    (tmp_path / "set" / "conditions").rename(tmp_path / "set.conditions")
    with pytest.raises(ValueError, match="is not finished, it lacks its conditions: import it again"):
        data.open(tmp_path / "set")
    data.import_dataset(tmp_path / "day", tmp_path / "set", condition=tmp_path / "night")
    assert data.open(tmp_path / "set").condition_shape == (3, 8, 8)
    assert not (tmp_path / "set.conditions").exists()


def test_conditions_that_are_made_are_made_again(tmp_path: Path) -> None:
    _pictures(tmp_path / "a", ["1.png", "2.png"], 12)
    data.import_dataset(tmp_path / "a", tmp_path / "set", resize=8, condition="downsample:4")
    dataset = data.open(tmp_path / "set")
    assert (dataset.condition_shape, dataset.condition_made) == ((3, 2, 2), "downsample")
    assert not (tmp_path / "set" / "conditions").exists()
    assert data.open(tmp_path / "set", condition="grayscale").condition_shape == (1, 8, 8)
    with pytest.raises(ValueError, match="does not divide images of 9x9"):
        data.import_dataset(tmp_path / "a", tmp_path / "nine", resize=9, condition="downsample:4")
