"""Untrusted text and JSON: what is refused, and how it is quoted."""

from __future__ import annotations

import json
import os

import pytest

from elucidiff.untrusted import MOST_JSON_MEMORY, load_json, open_regular, parse_json, printable, read_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode 猫.png", "plain ünïcode 猫.png"),
        ("a\x1b[2Jb\nc\r\x00", "a\\x1b[2Jb\\nc\\r\\x00"),
        ("caf\udce9", "caf\\xe9"),
        ("\ud83d", "\\ud83d"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()
    assert printable(text).encode()


def test_json_is_read(tmp_path) -> None:
    value = {"labels": [["a/ü.png", 3], ["b.png", None]]}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "a.json") == value
    assert parse_json("\ufeff[1]".encode("utf-8-sig")[3:], "x") == [1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 200_000 + b"]" * 200_000, "nested too deep"),
        (b'{"a":' * 200_000, "nested too deep"),
        (b"", "not JSON"),
        (b"{\x1b", "not JSON"),
        (b'["\xff\xfe"]', "byte 2 is not UTF-8"),
        (b"[" + b"9" * 100_000 + b"]", "not JSON"),
        (b"[" + b"[]," * 20_000_000 + b"[]]", "too large"),
    ],
)
def test_damage_is_one_line_that_names_the_file(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        parse_json(content, "in\nput.json")
    assert str(raised.value).startswith("in\\nput.json")
    assert str(raised.value).isprintable()


def test_no_more_is_read_than_a_document_may_take(tmp_path) -> None:
    class Endless:
        read_so_far = 0

        def read(self, size: int) -> bytes:
            self.read_so_far += size
            return b" " * size

    endless = Endless()
    with pytest.raises(ValueError, match=r"x\.json is too large"):
        load_json(endless, "x.json")  # type: ignore[arg-type]
    assert endless.read_so_far < MOST_JSON_MEMORY


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_pipes_and_devices_are_refused_at_once(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is not a regular file but a pipe"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(ValueError, match="a device"):
        open_regular("/dev/zero")
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
