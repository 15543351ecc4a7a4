"""One process at a time in a folder, for as long as it lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from elucidiff.launch.lock import held

HOLD = """
import sys
from pathlib import Path
from elucidiff.launch.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
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
