"""Labels from dataset.json, metadata.jsonl and tables, wherever they lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.pictures import encoded, noise
from tests.data.test_layout import both, found, in_folder, opened, said

PNG = encoded(noise(0))
NAMES = ("0/a.png", "0/b.png", "1/c.png")


def lines(*rows: Any) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


@both
@pytest.mark.parametrize("above", ["", "set/", "deep/er/"])
def test_nvlabs_archive_below_a_folder(tmp_path: Path, make: Any, above: str) -> None:
    listed = json.dumps({"labels": [[name, label] for name, label in zip(NAMES, (1, 0, 1), strict=True)]})
    path = make(tmp_path / "d", {above + name: PNG for name in NAMES} | {f"{above}dataset.json": listed.encode()})
    assert [label for _, label in found(opened(path))] == [1, 0, 1]
    assert [label for _, label in found(opened(path, labels_from="folders"))] == ["0", "0", "1"]
    assert [label for _, label in found(opened(path, labels_from="none"))] == [None] * 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((1, 0, 1), [1, 0, 1]),
        ((5, 3, 5), ["5", "3", "5"]),
        (("cat", "dog", "cat"), ["cat", "dog", "cat"]),
        (([0, 1], [1, 0], [0, 1]), [1, 0, 1]),
        (([0.5, 1], [1, 0], [0, 1]), [[0.5, 1], [1, 0], [0, 1]]),
        ((0.25, 0.5, 1.5), [[0.25], [0.5], [1.5]]),
        ((None, None, None), [None] * 3),
        ((True, False, True), ["true", "false", "true"]),
    ],
)
@pytest.mark.parametrize("kind", ["dataset.json", "metadata.jsonl", "metadata.csv", "labels.csv"])
def test_every_kind_of_label(tmp_path: Path, kind: str, given: tuple[Any, ...], expected: list[Any]) -> None:
    rows = list(zip(NAMES, given, strict=True))
    if kind == "dataset.json":
        content = json.dumps({"labels": rows}).encode()
    elif kind == "metadata.jsonl":
        content = lines(*({"file_name": name, "label": label} for name, label in rows))
    else:
        cells = ["" if label is None else label if isinstance(label, str) else json.dumps(label) for label in given]
        table = [f'{name},"{cell}"' for name, cell in zip(NAMES, cells, strict=True)]
        content = "\n".join(["file_name,label", *table]).encode()
    path = in_folder(tmp_path, dict.fromkeys(NAMES, PNG) | {kind: content})
    assert [label for _, label in found(opened(path))] == expected


def test_pictures_without_a_label_are_left_out_and_said(tmp_path: Path) -> None:
    content = lines(
        {"file_name": "0/a.png", "label": "x"}, {"file_name": "0/b.png", "label": None}, {"file_name": "z"}
    )
    path = in_folder(tmp_path, dict.fromkeys(NAMES, PNG) | {"metadata.jsonl": content})
    contents = opened(path)
    assert found(contents) == [("0/a.png", "x")]
    assert said(contents, "left out: 2 pictures without a label", "--labels-from none")
    assert said(contents, "does not list 1 of the pictures")
    assert said(contents, "lists 1 files that are not there")
    assert len(found(opened(path, labels_from="none"))) == 3


@pytest.mark.parametrize(
    ("table", "expected", "note"),
    [
        ("id,breed\na,x\nb,y\nc,x\n", ["x", "y", "x"], ""),  # stems, as Kaggle has them
        ("image;class\r\na.png;x\r\nb.png;y\r\nc.png;x\r\n", ["x", "y", "x"], ""),
        ("\ufefffilename\tcategory\na.png\t7\nb.png\t7\nc.png\t9\n", ["7", "7", "9"], ""),
        ("what,which\n./0/a.png,x\n0\\b.png,x\n1/c.png,y\n", ["x", "x", "y"], ""),
        ("file_name,cat,dog\n0/a.png,1,0\n0/b.png,0,1\n1/c.png,1,0\n", ["cat", "dog", "cat"], ""),
        ("file_name,text\n0/a.png,a cat\n0/b.png,two dogs\n1/c.png,a bird\n", [None] * 3, "3 different texts"),
        ("file_name,p,q\n0/a.png,3,4\n0/b.png,5,6\n1/c.png,3,1\n", [None] * 3, "takes one of p, q"),
        ("file_name,label,split\n0/a.png,x,s\n0/b.png,y,s\n1/c.png,x,s\n", ["x", "y", "x"], "takes one of split"),
        ("file_name\n0/a.png\n0/b.png\n1/c.png\n", [None] * 3, "no column of labels"),
    ],
)
def test_tables_as_people_have_them(tmp_path: Path, table: str, expected: list[Any], note: str) -> None:
    contents = opened(in_folder(tmp_path, dict.fromkeys(NAMES, PNG) | {"labels.csv": table.encode()}))
    assert [label for _, label in found(contents)] == expected
    assert not note or said(contents, note)


@pytest.mark.parametrize("table", ["0/a.png,3\n0/b.png,5\n1/c.png,3\n", "3;0/a.png\n5;0/b.png\n3;1/c.png\n"])
def test_a_table_without_names_of_columns(tmp_path: Path, table: str) -> None:
    """Its first line names a picture, which is not lost."""
    contents = opened(in_folder(tmp_path, dict.fromkeys(NAMES, PNG) | {"labels.csv": table.encode()}))
    assert [label for _, label in found(contents)] == ["3", "5", "3"]


def test_another_column(tmp_path: Path) -> None:
    table = b"file_name,label,text\n0/a.png,1,u\n0/b.png,0,v\n1/c.png,1,u\n"
    path = in_folder(tmp_path, dict.fromkeys(NAMES, PNG) | {"metadata.csv": table})
    assert [label for _, label in found(opened(path, label_column="text"))] == ["u", "v", "u"]
    with pytest.raises(
        ValueError, match=r"metadata\.csv has no column 'kind' of labels; its columns are label, text"
    ):
        opened(path, label_column="kind")


def test_a_file_for_each_part(tmp_path: Path) -> None:
    files = {f"{part}/{name}": PNG for part in ("train", "test") for name in ("a.png", "b.png")}
    files["train/metadata.jsonl"] = lines({"file_name": "a.png", "label": "x"}, {"file_name": "b.png", "label": "y"})
    files["test/metadata.csv"] = b"file_name,label\na.png,y\nb.png,x\n"
    path = in_folder(tmp_path, files)
    assert [label for _, label in found(opened(path))] == ["x", "y"]
    assert [label for _, label in found(opened(path, ":test"))] == ["y", "x"]


def test_the_first_kind_of_file_decides_and_another_can_be_asked_for(tmp_path: Path) -> None:
    files = dict.fromkeys(NAMES, PNG)
    files["metadata.jsonl"] = lines(*({"file_name": name, "label": 0} for name in NAMES))
    files["labels.csv"] = b"file,label\na.png,x\nb.png,y\nc.png,x\n"
    path = in_folder(tmp_path, files)
    assert [label for _, label in found(opened(path))] == [0, 0, 0]
    assert said(opened(path), "labels.csv", "--labels-from labels.csv")
    assert [label for _, label in found(opened(path, labels_from="labels.csv"))] == ["x", "y", "x"]
    with pytest.raises(ValueError, match=r"holds no other\.csv above all of its pictures"):
        opened(path, labels_from="other.csv")


def test_names_of_accents_and_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "e\u0301.png").write_bytes(PNG)  # as macOS spells é
    (tmp_path / "caf\udce9.png").write_bytes(PNG)
    (tmp_path / "labels.csv").write_bytes("file,label\né.png,x\n".encode() + b"caf\xe9.png,y\n")
    assert sorted(str(label) for _, label in found(opened(tmp_path))) == ["x", "y"]


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("metadata.jsonl", b'{"file_name": "0/a.png"\n', r"metadata\.jsonl, line 1, is damaged: not JSON"),
        ("metadata.jsonl", b"[1]\n", r"metadata\.jsonl, line 1, is damaged: expected"),
        ("metadata.jsonl", b"\n" + b"[" * 100_000, r"metadata\.jsonl, line 2, is damaged: it is nested too deep"),
        ("metadata.jsonl", b"", r"metadata\.jsonl lists no pictures"),
        ("metadata.jsonl", b'{"file_name": "q.png", "label": 1}', r"no column whose entries are names of pictures"),
        ("labels.csv", b"", r"labels\.csv is damaged: its first line"),
        ("labels.csv", b"0/a.png,1,2\n0/b.png,1,2\n", r"labels\.csv: its first line names a picture: put the names"),
        ("labels.csv", b"file,label\n0/a.png\n", r"labels\.csv, line 2, has 1 columns, but the first line 2"),
        ("labels.csv", b'file,label\n"' + b"x" * 200_000 + b'",1\n', r"labels\.csv is damaged, line 2: field larger"),
        (
            "labels.csv",
            b"file,file\na,b\n",
            r"labels\.csv is damaged: its first line must name the columns, each once",
        ),
        ("labels.csv", b"file,label\n\x1b[2J,1\n", r"no column whose entries are names of pictures"),
    ],
)
def test_damage_is_one_line_that_names_the_file(tmp_path: Path, kind: str, content: bytes, message: str) -> None:
    path = in_folder(tmp_path, dict.fromkeys(NAMES, PNG) | {kind: content})
    with pytest.raises(ValueError, match=message) as raised:
        opened(path)
    assert str(raised.value).isprintable()


def test_classes_have_the_same_numbers_in_every_part(tmp_path: Path) -> None:
    names = ["train/ant/a.png", "train/bee/b.png", "test/bee/c.png", "test/cow/d.png"]
    path = in_folder(tmp_path / "folders", dict.fromkeys(names, PNG))
    table = "file_name,label\n" + "".join(f"{name},{name.split('/')[1]}\n" for name in names)
    tabled = in_folder(tmp_path / "table", dict.fromkeys(names, PNG) | {"metadata.csv": table.encode()})
    numbers = {"ant": 3, "bee": 5, "cow": 9}
    listed = json.dumps({"labels": [[name, numbers[name.split("/")[1]]] for name in names]})
    numbered = in_folder(tmp_path / "numbers", dict.fromkeys(names, PNG) | {"dataset.json": listed.encode()})
    for source, classes in ((path, tuple(numbers)), (tabled, tuple(numbers)), (numbered, ("3", "5", "9"))):
        for part, values in ((":train", [0, 1]), (":test", [1, 2]), (":all", [1, 2, 0, 1])):
            contents = opened(source, part)
            assert contents.labels is not None
            assert (contents.labels.names, contents.labels.values.tolist()) == (classes, values)
            assert not said(contents, "not there")
