"""Whatever the streams, the terminal and the signals are like: no traceback, a sensible exit code, no work lost."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from elucidiff.cli import main as program
from elucidiff.cli.main import main
from elucidiff.cli.terminal import Streams

SAID = b"a note\nelucidiff train: note: two lines\n"
FULL = Path("/dev/full")

# What a verb may do, in the place of one, so that a process takes no seconds to start. Each does some work first.
VERB = """
import os, pathlib, signal, sys, types, warnings
from elucidiff.cli import main

def run(words):
    for descriptor in range(3):
        os.fstat(descriptor)  # or the next file would be what is printed to
    pathlib.Path(words[0]).write_bytes(b"work")
    if words[1] == "print":
        print("é " * 40_000, flush=True)
        print("a note", file=sys.stderr)
        warnings.warn("two\\nlines")
    elif words[1] == "starting":
        raise AssertionError
    elif words[1] == "lost":  # as by an import that makes something else of it
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("numpy cannot be imported") from None
    elif words[1] == "working":
        signal.raise_signal(signal.SIGINT)
    pathlib.Path(words[0]).write_bytes(b"work done")

def imported(name):
    if sys.argv[3] == "starting":
        signal.raise_signal(getattr(signal, sys.argv[4]))
        raise ImportError("half an import")
    return types.SimpleNamespace(run=run)

main.importlib = types.SimpleNamespace(import_module=imported)
code = main.main()
sys.stdout.flush()
sys.exit(code)
"""


def ended(words: Sequence[str], redirected: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """How a command ends whose streams a shell has redirected."""
    script = f'exec "$@" {redirected}'
    return subprocess.run(
        ["/bin/sh", "-c", script, "sh", sys.executable, "-c", VERB, *words],
        capture_output=True,
        env=os.environ | environment,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("redirected", "code", "says"),
    [
        (">&-", 0, SAID),
        ("2>&-", 0, b""),
        ("<&- >&- 2>&-", 0, b""),
        ("2>/dev/full", 0, b""),
        (
            ">/dev/full",
            2,
            SAID + b"elucidiff: error: cannot write to standard output: No space left on device\n",
        ),
    ],
)
def test_what_cannot_be_printed_ends_no_work(redirected: str, code: int, says: bytes, tmp_path: Path) -> None:
    if "full" in redirected and not FULL.exists():
        pytest.skip("there is no /dev/full here")
    done = ended(["train", str(tmp_path / "work"), "print"], redirected)
    assert (done.returncode, done.stderr) == (code, says)
    assert (tmp_path / "work").read_bytes() == b"work done"


def test_a_reader_that_goes_away_is_no_mistake(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", VERB, "train", str(tmp_path / "work"), "print"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(1)
        running.stdout.close()
        assert running.stderr.read() == SAID
        assert running.wait(60) == 0
    assert (tmp_path / "work").read_bytes() == b"work done"


def test_what_an_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    done = ended(["train", str(tmp_path / "é"), "print"], PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stdout[:5], done.stderr) == (0, b"\\xe9 ", SAID)


@pytest.mark.parametrize(
    ("how", "code", "says", "left"),
    [
        (["starting", "SIGINT"], 130, b"elucidiff: interrupted\n", b""),
        (["starting", "SIGTERM"], -signal.SIGTERM, b"", b""),
        (["working"], 130, b"elucidiff train: interrupted\n", b"work"),
        (["lost"], 130, b"elucidiff train: interrupted\n", b"work"),
    ],
)
def test_a_signal_at_any_moment(how: list[str], code: int, says: bytes, left: bytes, tmp_path: Path) -> None:
    done = ended(["train", str(tmp_path / "work"), *how])
    assert (done.returncode, done.stderr, done.stdout) == (code, says, b"")
    assert ((tmp_path / "work").read_bytes() if left else b"") == left


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "evaluate", "figure"])
def test_interrupts_while_a_verb_is_imported(verb: str, tmp_path: Path) -> None:
    """Ctrl-C after ever longer times, most of them in the midst of importing PyTorch."""
    for tenths in (2, 5, 9, 14, 20):
        command = [sys.executable, "-m", "elucidiff", verb, "--help"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as running:
            time.sleep(tenths / 10)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=60)
        if b"site.py" in said or b"runpy" in said:  # before a line of ours had run
            continue
        assert b"Traceback" not in said
        assert running.returncode in (0, 130)


def test_standard_streams_keep_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that are not tested here are as they were afterwards."""
    before = sys.stdout, sys.stderr
    monkeypatch.setattr(sys, "stdout", before[0])
    monkeypatch.setattr(sys, "stderr", before[1])
    with Streams() as streams:
        assert (sys.stdout.errors, sys.stderr.errors) == ("backslashreplace", "backslashreplace")
        assert (sys.stdout.fileno(), sys.stderr.fileno()) == (1, 2)
    assert streams.failure is None


class Verb:
    """Stands for a verb that raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def run(self, words: Sequence[str]) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ValueError("two\n lines\x1b[2J"), 2, "error: two lines\\x1b[2J"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 10**6), 2, "error: File name too long: xxx"),
        (OverflowError("int too large to convert to C long"), 2, "error: a number is too large: int too large"),
        (MemoryError(), 2, "error: there is not enough memory for what was asked: MemoryError"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            2,
            "error: there is not enough memory for what was asked: DefaultCPUAllocator",
        ),
        (TypeError("no such thing"), 1, "fault in the program: TypeError: no such thing (test_terminal.py, line"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_error_is_one_short_line(
    error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program.importlib, "import_module", lambda name: Verb(error))
    assert main(["train", "digits"]) == code
    said = capsys.readouterr().err
    assert said.startswith(f"elucidiff train: {says}")
    assert (said.count("\n"), len(said) < 1000) == (1, True)
