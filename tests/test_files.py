"""Files appear whole or not at all."""

from __future__ import annotations

import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from elucidiff.files import remove_unfinished, write_folder_whole, write_whole


def test_text_bytes_and_functions_are_written(tmp_path: Path) -> None:
    assert write_whole(tmp_path / "a" / "text.txt", "σ = 80").read_text(encoding="utf-8") == "σ = 80"
    assert write_whole(tmp_path / "bytes", b"\x00\x01").read_bytes() == b"\x00\x01"
    written = write_whole(tmp_path / "function.txt", lambda path: path.write_text("x") and None)
    assert written.read_text() == "x"
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_whole(path, "old")

    def fails(temporary: Path) -> None:
        temporary.write_text("half of the n")
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_whole(path, fails)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """A limit on the file size stands in for the full disk: the write fails part of the way through."""
    path = tmp_path / "file.bin"
    write_whole(path, b"old")
    script = (
        "import resource, signal, sys; from elucidiff.files import write_whole\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try: write_whole(sys.argv[1], bytes(50_000))\n"
        "except OSError as error: sys.exit(7)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 10_000
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 7
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_a_writer_that_replaces_the_file_does_not_change_its_permissions(tmp_path: Path) -> None:
    def replaces(temporary: Path) -> None:
        other = temporary.with_name("other")
        other.touch(mode=0o600)
        other.replace(temporary)

    (tmp_path / "plain").touch()
    written = write_whole(tmp_path / "file", replaces)
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill(names: str, fails: bool = False) -> None:
        def content(folder: Path) -> None:
            for name in names:
                (folder / name).write_text(names)
            if fails:
                raise OSError("no room")

        write_folder_whole(tmp_path / "out" / "folder", content)

    def there() -> dict[str, str]:
        return {path.name: path.read_text() for path in (tmp_path / "out" / "folder").iterdir()}

    fill("ab")
    assert there() == {"a": "ab", "b": "ab"}
    with pytest.raises(OSError, match="no room"):
        fill("bc", fails=True)
    assert there() == {"a": "ab", "b": "ab"}
    fill("bc")
    assert there() == {"b": "bc", "c": "bc"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["folder"]


def test_only_our_own_leavings_are_removed(tmp_path: Path) -> None:
    left = [".a-01234567.tar", ".a-01234567", ".000001-89abcdef.json"]
    kept = [".a", "a-01234567.tar", ".a-0123456.tar", ".a-01234567.tar.gz", ".a-0123456g"]
    for name in left + kept:
        (tmp_path / name).touch()
    (tmp_path / ".b-01234567").mkdir()
    (tmp_path / ".b-01234567" / "file").touch()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
