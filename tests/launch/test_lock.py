"""One process at a time in a folder, for as long as it lives."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from elucidiff.launch.output_folder import file_held, held, held_if_free

HOLD = """
import os, sys, time
from pathlib import Path
from elucidiff.launch.output_folder import held
with held(Path(sys.argv[1])):
    if len(sys.argv) > 2 and not os.fork():
        os.write(1, b"held\\n")
        time.sleep(60)  # a process that it started, and that outlives it
    os.write(1, b"held\\n")
    sys.stdin.read()
"""


def test_held_until_it_is_let_go_or_its_process_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "new")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another process is writing to"), held(tmp_path / "new"):
            pass
        other.kill()
    with held(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_who_is_forked_holds_nothing(tmp_path: Path) -> None:
    """Readers of data are forked: one that lives a little longer than a killed training does not keep its folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), "fork"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as other:
        assert other.stdout is not None
        assert [other.stdout.readline() for _ in range(2)] == [b"held\n"] * 2
        with pytest.raises(ValueError, match="another process is writing to"), held(tmp_path):
            pass
        other.kill()
        other.wait()
        try:
            with held(tmp_path):
                pass
        finally:
            os.killpg(other.pid, 9)


def test_never_two_at_once(tmp_path: Path) -> None:
    """Threads that come and go: a lock whose file is just removed lets in two that opened different files."""
    inside, most, entered = 0, 0, 0
    counting = threading.Lock()

    def come_and_go() -> None:
        nonlocal inside, most, entered
        for _ in range(150):
            with held_if_free(tmp_path) as free:
                if not free:
                    continue
                with counting:
                    inside, entered = inside + 1, entered + 1
                    most = max(most, inside)
                with counting:
                    inside -= 1

    threads = [threading.Thread(target=come_and_go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert entered > 6


def test_a_file_is_held_by_a_lock_beside_it(tmp_path: Path) -> None:
    with file_held(tmp_path / "a" / "out.json"):
        with pytest.raises(ValueError, match=r"another process is writing to .*out\.json"):
            file_held(tmp_path / "a" / "out.json").__enter__()
        with file_held(tmp_path / "a" / "other.json"):
            pass
    with file_held(tmp_path / "a" / "out.json"), held_if_free(tmp_path / "a") as free:
        assert free


def test_a_lock_that_went_with_its_folder_leaves_the_next_one_alone(tmp_path: Path) -> None:
    """An import renames its folder while it holds it, and another one may begin at the old name at once."""
    with held(tmp_path / "part"):
        (tmp_path / "part").rename(tmp_path / "whole")
        following = held(tmp_path / "part")
        following.__enter__()
    with pytest.raises(ValueError, match="another process"), held(tmp_path / "part"):
        pass
    following.__exit__(None, None, None)


def test_where_the_file_system_has_no_locks_a_mark_keeps_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with held(tmp_path), held_if_free(tmp_path) as free:
        assert not free
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path):
        pass


def test_what_is_busy_is_left_alone(tmp_path: Path) -> None:
    with held(tmp_path), held_if_free(tmp_path) as free:
        assert not free
