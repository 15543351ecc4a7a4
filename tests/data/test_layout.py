"""What a folder or zip of pictures is taken for: its files, its parts, its classes, and what is said of the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from elucidiff.data.finding import find
from elucidiff.data.images import ImageFiles
from elucidiff.data.opening import open as open_data
from elucidiff.data.reading import Reading
from elucidiff.data.sources import Contents
from tests.data.pictures import archive, encoded, noise

PNG = encoded(noise(0))
Maker = Callable[[Path, dict[str, bytes]], Path]


def in_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def in_zip(root: Path, files: dict[str, bytes]) -> Path:
    return archive(root.with_suffix(".zip"), files)


def in_windows_zip(root: Path, files: dict[str, bytes]) -> Path:
    return archive(root.with_suffix(".zip"), {name.replace("/", "\\"): content for name, content in files.items()})


both = pytest.mark.parametrize("make", [in_folder, in_zip, in_windows_zip])


def opened(path: Path, part: str = "", **reading: Any) -> Contents:
    return find(f"{path}{part}", reading=Reading(**reading))


def found(contents: Contents) -> list[tuple[str, Any]]:
    """The files and their labels: names of classes, or vectors."""
    files, labels = contents.source, contents.labels
    assert isinstance(files, ImageFiles)
    if labels is None:
        return [(name, None) for name in files.names]
    values = labels.values.tolist()
    if labels.kind == "classes":
        values = [labels.names[value] if labels.names else value for value in values]
    return list(zip(files.names, values, strict=True))


def refusal(path: Path) -> str:
    """The message with which a data set is refused when all of it is read, or ""."""
    try:
        contents = find(path)
        contents.source.read(np.arange(len(contents.source)))
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def said(contents: Contents, *words: str) -> bool:
    return any(all(word in note for word in words) for note in contents.notes)


# Parts


@both
@pytest.mark.parametrize(
    ("train", "test", "above"),
    [
        ("train", "test", ""),
        ("Train", "TEST", ""),
        ("training", "testing", "data/set/"),
        ("train", "val", "x/"),
        ("TRAIN", "Valid", ""),
        ("train", "validation", ""),
    ],
)
def test_split_folders_are_parts(tmp_path: Path, make: Maker, train: str, test: str, above: str) -> None:
    names = [f"{above}{part}/{kind}/{i}.png" for part in (train, test) for kind in ("cat", "dog") for i in range(2)]
    path = make(tmp_path / "d", dict.fromkeys(names, PNG))
    contents = opened(path)
    assert [label for _, label in found(contents)] == ["cat", "cat", "dog", "dog"]
    assert all(f"{train}/" in name for name, _ in found(contents))
    assert said(contents, "split", ":all", "--split-folders classes")
    other = opened(path, f":{test.lower()}")
    assert all(f"{test}/" in name for name, _ in found(other))
    assert other.labels is not None
    assert other.labels.names == ("cat", "dog")
    assert len(found(opened(path, ":all"))) == 8
    as_classes = opened(path, split_folders="classes")
    assert as_classes.labels is not None
    assert set(as_classes.labels.names) == {train, test}


@both
def test_parts_inside_the_classes(tmp_path: Path, make: Maker) -> None:
    names = [f"{kind}/{part}/x.png" for part in ("train", "test") for kind in ("cat", "dog")]
    path = make(tmp_path / "d", dict.fromkeys(names, PNG))
    assert found(opened(path)) == [("cat/train/x.png", "cat"), ("dog/train/x.png", "dog")]
    assert found(opened(path, ":test")) == [("cat/test/x.png", "cat"), ("dog/test/x.png", "dog")]


def test_a_part_with_pictures_of_one_class_has_the_classes_of_all_parts(tmp_path: Path) -> None:
    where = in_folder(tmp_path, dict.fromkeys(("train/cat/0.png", "train/dog/1.png", "test/dog/2.png"), PNG))
    with pytest.warns(UserWarning, match="look like a split"):
        assert open_data(where).class_names == ("cat", "dog")
    test = open_data(f"{where}:test")
    assert test.class_names == ("cat", "dog")
    assert test.classes is not None
    assert test.classes.tolist() == [1]


def test_parts_without_classes_and_what_lies_beside_them(tmp_path: Path) -> None:
    names = ["train/a.png", "train/b.png", "test/c.png", "cover.png", "extra/d.png"]
    path = in_folder(tmp_path, dict.fromkeys(names, PNG))
    contents = opened(path)
    assert found(contents) == [("train/a.png", None), ("train/b.png", None)]
    assert said(contents, "left out: 2 pictures beside the folders of the parts")


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    path = in_folder(tmp_path, dict.fromkeys(["bus/a.png", "train/b.png"], PNG))
    assert found(opened(path)) == [("bus/a.png", "bus"), ("train/b.png", "train")]


def test_a_part_that_is_not_there(tmp_path: Path) -> None:
    path = in_folder(tmp_path, dict.fromkeys(["train/a.png", "test/b.png"], PNG))
    with pytest.raises(ValueError, match=r"has no part 'val'; its parts are train \(1\), test \(1\)"):
        opened(path, ":val")
    alone = in_folder(tmp_path / "alone", {"a.png": PNG})
    with pytest.raises(ValueError, match="has no part 'test': give its name alone"):
        opened(alone, ":test")
    single = in_folder(tmp_path / "single", dict.fromkeys(["train/cat/a.png", "train/dog/b.png"], PNG))
    assert len(found(opened(single, ":train"))) == 2
    with pytest.raises(ValueError, match="has no part 'test'; its parts are train"):
        opened(single, ":test")


# Loose pictures


def test_a_few_pictures_beside_class_folders_are_left_out_and_said(tmp_path: Path) -> None:
    path = in_folder(tmp_path, dict.fromkeys(["cat/a.png", "cat/b.png", "dog/c.png", "cover.png"], PNG))
    contents = opened(path)
    assert found(contents) == [("cat/a.png", "cat"), ("cat/b.png", "cat"), ("dog/c.png", "dog")]
    assert said(contents, "1 picture beside the 2 folders cat, dog", "cover.png", "--labels-from none")
    assert len(found(opened(path, labels_from="none"))) == 4


def test_many_pictures_beside_folders_mean_no_classes_and_it_is_said(tmp_path: Path) -> None:
    path = in_folder(tmp_path, dict.fromkeys(["1.png", "2.png", "3.png", "old/a.png", "new/b.png"], PNG))
    contents = opened(path)
    assert len(found(contents)) == 5
    assert contents.labels is None
    assert said(contents, "no labels: 3 pictures of 5", "--labels-from folders")
    assert found(opened(path, labels_from="folders")) == [("new/b.png", "new"), ("old/a.png", "old")]


def test_numbered_folders_may_be_storage(tmp_path: Path) -> None:
    path = in_folder(tmp_path, dict.fromkeys(["00000/a.png", "00001/b.png"], PNG))
    assert said(opened(path), "only divide the files up", "--labels-from none")


# Which files are pictures


@both
def test_pictures_are_known_by_their_content(tmp_path: Path, make: Maker) -> None:
    jpeg, gif, tiff = (encoded(noise(1), kind) for kind in ("jpeg", "gif", "tiff"))
    pictures = {"a.jfif": jpeg, "b": PNG, "c.dat": gif, "d.gif": gif, "e.PNG": jpeg, "f.img": tiff}
    pictures |= {"g.x": encoded(noise(2), "bmp"), "h.y": encoded(noise(3), "ppm"), "i.z": encoded(noise(4), "webp")}
    others = {"readme.txt": b"P5 is not a picture", "b.txt": b"BM neither", "notes": b"", "x.heic": b"....ftypheic"}
    contents = opened(make(tmp_path / "d", pictures | others))
    assert [name for name, _ in found(contents)] == sorted(pictures)
    assert said(contents, "left out", "2 .txt", "1 without a suffix", "1 .heic")


@both
def test_leftovers_of_other_systems(tmp_path: Path, make: Maker) -> None:
    names = ["Thumbs.db", ".DS_Store", "cat/._a.png", "__MACOSX/cat/._a.png", "desktop.ini", "cat/@eaDir/a.png/t.jpg"]
    names += ["cat/.ipynb_checkpoints/a-checkpoint.png", "$RECYCLE.BIN/b.png"]
    path = make(tmp_path / "d", dict.fromkeys([*names, "cat/a.png", "dog/b.png"], PNG))
    contents = opened(path)
    assert found(contents) == [("cat/a.png", "cat"), ("dog/b.png", "dog")]
    assert said(contents, "leftovers of other programs")


# Names and links


def test_names_in_any_bytes(tmp_path: Path) -> None:
    for name in (b"caf\xe9.png", b"\xff\xfe\x1b[2J.png", b"a\nb.png"):
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
            file.write(PNG)
    contents = opened(tmp_path)
    files = contents.source
    assert isinstance(files, ImageFiles)
    assert len(files) == 3
    for row in range(3):
        assert files.where(row).isprintable()
        assert np.array_equal(files.image(row), noise(0).transpose(2, 0, 1))


def test_classes_in_any_bytes(tmp_path: Path) -> None:
    for name in (b"caf\xe9", "猫".encode()):
        folder = os.fsencode(tmp_path) + b"/" + name
        os.mkdir(folder)
        with open(folder + b"/a.png", "wb") as file:
            file.write(PNG)
    labels = opened(tmp_path).labels
    assert labels is not None
    assert labels.names == ("caf\\xe9", "猫")
    assert opened(tmp_path / "caf\udce9").name == "caf\\xe9"


def without_flag(content: bytes) -> bytes:
    """A zip whose names are not marked as UTF-8 (bit 11 of the flags)."""
    out = bytearray(content)
    for signature, offset in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
        for place in range(len(content)):
            if content.startswith(signature, place):
                out[place + offset] &= ~0x08
    return bytes(out)


def test_names_in_a_zip_with_and_without_the_flag_for_utf_8(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"katze/ä.png": PNG, "chien/b.png": PNG})
    # As macOS packs: UTF-8 without the flag.
    (tmp_path / "b.zip").write_bytes(without_flag(path.read_bytes()))
    assert found(opened(tmp_path / "b.zip")) == found(opened(path))
    flagged = archive(tmp_path / "c.zip", {"y/ä.png": PNG, "z/b.png": PNG}).read_bytes()
    # As DOS packs: cp437, in which 0x84 is ä.
    dos = flagged.replace("y/ä".encode(), b"yy/\x84")
    (tmp_path / "d.zip").write_bytes(without_flag(dos))
    assert found(opened(tmp_path / "d.zip"))[0] == ("yy/ä.png", "yy")
    # Marked as UTF-8, and not.
    (tmp_path / "e.zip").write_bytes(dos)
    with pytest.raises(ValueError, match=r"e\.zip has names that are marked as UTF-8 and are not"):
        opened(tmp_path / "e.zip")


def test_every_file_once(tmp_path: Path) -> None:
    path = in_folder(tmp_path / "d", dict.fromkeys(["a/1.png", "b/2.png"], PNG))
    elsewhere = in_folder(tmp_path / "store", {"3.png": PNG, "s/4.png": PNG})
    (path / "a" / "loop").symlink_to(path)  # to a folder above
    (path / "a" / "0sibling").symlink_to(path / "b")  # to a folder that is there
    (path / "a" / "up").symlink_to(tmp_path)  # to what holds the data
    (path / "a" / "self").symlink_to("self")  # to itself
    (path / "b" / "again.png").symlink_to("../a/1.png")
    (path / "b" / "3.png").symlink_to(elsewhere / "3.png")
    (path / "b" / "3-again.png").symlink_to(elsewhere / "3.png")
    (path / "c").symlink_to(elsewhere / "s")
    contents = opened(path)
    assert found(contents) == [("a/1.png", "a"), ("b/2.png", "b"), ("b/3-again.png", "b"), ("c/4.png", "c")]
    assert said(contents, "5 links to what is there already")


def test_a_link_to_nowhere_is_a_broken_picture(tmp_path: Path) -> None:
    in_folder(tmp_path, {"a.png": PNG})
    (tmp_path / "z.png").symlink_to("/nowhere/x.png")
    with pytest.raises(ValueError, match=r"z\.png is a link to /nowhere/x\.png, which is not there"):
        opened(tmp_path)
    contents = find(tmp_path, alike=False)
    assert len(contents.source) == 1
    assert len(contents.broken) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_pipes_are_not_read(tmp_path: Path) -> None:
    in_folder(tmp_path, {"a.png": PNG})
    os.mkfifo(tmp_path / "b.png")
    os.mkfifo(tmp_path / "c")
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(ValueError, match="not a regular file but a pipe"):
        opened(tmp_path)
    os.mkfifo(tmp_path / "whole.zip")
    with pytest.raises(ValueError, match=r"whole\.zip is neither a regular file nor a folder"):
        opened(tmp_path / "whole.zip")


def test_links_and_doubles_in_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.png", encoded(noise(1)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.png", PNG)
        link = zipfile.ZipInfo("b.png")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "a.png")
        file.writestr("./sub/../c.png", PNG)
    contents = opened(path)
    assert len(found(contents)) == 2
    assert np.array_equal(contents.source.read(np.array([1]))[0], noise(0).transpose(2, 0, 1))
    assert said(contents, "1 links in an archive", "1 files whose name comes again")


# Damage and harm


def test_only_listed_formats_are_opened_whatever_a_file_is_called(tmp_path: Path) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    in_folder(tmp_path, {"a.png": eps, "b.eps": eps, "c.png": PNG})
    with pytest.raises(ValueError, match=r"cannot read image .*a\.png: it is PostScript, which is not read"):
        opened(tmp_path)
    contents = find(tmp_path, alike=False)
    assert len(contents.source) == 1
    assert said(contents, "1 .eps")


def test_a_member_that_unpacks_to_much_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("a.png", "w") as member:
        member.write(PNG)
        for _ in range(257):
            member.write(bytes(1 << 20))
    with pytest.raises(ValueError, match=r"a\.zip:a\.png: it would unpack to 269,484,[0-9]{3} bytes"):
        opened(path)


def test_damaged_archives_are_one_line(tmp_path: Path) -> None:
    whole = archive(
        tmp_path / "a.zip", {"a/x.png": PNG, "dataset.json": b'{"labels": [["a/x.png", 0]]}'}
    ).read_bytes()
    generator = np.random.default_rng(0)
    path = tmp_path / "b.zip"
    for _ in range(300):
        damaged = bytearray(whole[: generator.integers(1, len(whole) + 1)])
        for place in generator.integers(0, len(damaged), generator.integers(1, 4)):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        message = refusal(path)
        assert message.isprintable()
        assert not message or "b.zip" in message


def test_pages_are_images_with_the_label_of_their_file(tmp_path: Path) -> None:
    for kind, shades in (("cat", (10, 20, 30)), ("dog", (40, 50))):
        (tmp_path / kind).mkdir()
        pages = [Image.new("L", (8, 8), shade) for shade in shades]
        pages[0].save(tmp_path / kind / "a.tif", save_all=True, append_images=pages[1:])
    contents = opened(tmp_path)
    assert [label for _, label in found(contents)] == ["cat"] * 3 + ["dog"] * 2
    assert contents.source.read(np.arange(5))[:, 0, 0, 0].tolist() == [10, 20, 30, 40, 50]
    assert contents.source.read(np.array([4, 1, 0]))[:, 0, 0, 0].tolist() == [50, 20, 10]
    assert said(contents, "2 files have several pages", "a.tif with 3", "--pages first")
    first = opened(tmp_path, pages="first")
    assert [label for _, label in found(first)] == ["cat", "dog"]
    assert said(first, "left out: 3 pages")
    assert json.dumps(contents.notes)


def test_the_command_refuses_a_damaged_picture_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Pillow warns and logs about such files, which is not shown."""
    content = bytearray(encoded(noise(0), "tiff"))
    start = int.from_bytes(content[4:8], "little")
    for place in range(start + 2, len(content) - 12, 12):
        if int.from_bytes(content[place : place + 2], "little") == 277:  # samples per pixel
            content[place + 8 : place + 10] = (2048).to_bytes(2, "little")
    in_folder(tmp_path / "d", {"a.tif": bytes(content), "b.tif": encoded(noise(1), "tiff")})
    # In a process of its own, for pytest catches what is logged.
    command = [sys.executable, "-m", "elucidiff.cli.main", "data", "import", tmp_path / "d", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    said = done.stderr.splitlines()
    assert len(said) == 1
    assert "a.tif" in said[0]


@pytest.mark.parametrize("above", [("train_set", "test_set"), ("seg_train/seg_train", "seg_test/seg_test")])
def test_classes_that_look_like_a_split_are_told_of(tmp_path: Path, above: tuple[str, str]) -> None:
    names = [f"{part}/{name}/a.png" for part in above for name in ("cat", "dog")]
    assert said(opened(in_folder(tmp_path / "d", dict.fromkeys(names, PNG))), "were taken for classes", "a split")
    names = [f"{name}/a.png" for name in ("train station", "tram")]
    assert not said(opened(in_folder(tmp_path / "e", dict.fromkeys(names, PNG))), "a split")
    names = [f"{part}/{name}/a.png" for part in ("Train", "dev") for name in ("cat", "dog")]
    assert [label for _, label in found(opened(in_folder(tmp_path / "f", dict.fromkeys(names, PNG))))] == [
        "cat",
        "dog",
    ]
