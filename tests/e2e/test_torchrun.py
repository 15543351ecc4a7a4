"""The launchers that users have: the commands of the guide, a restart after SIGKILL, a mistake in one line."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import elucidiff
from tests.e2e.conftest import TINY
from tests.training.test_loop import assert_same_run, metrics
from tests.training.test_processes import tiny, trained, words

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "many-processes.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"<!-- runs on a CPU -->\n```bash\n(.*?)```", GUIDE, re.DOTALL)
# No checkpoint but the last: a preview takes longer than this training.
SHORT = (*TINY, "--duration-images=128", "--checkpoint-images=1000000", "--compile=off")
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


def test_the_guide_has_its_commands() -> None:
    assert len(COMMANDS) == 4
    assert [shlex.split(command)[0] for command in COMMANDS] == ["torchrun", "accelerate", "torchrun", "torchrun"]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_guide(command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*shlex.split(command), *SHORT],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert metrics(run_dir)[-1]["images"] == 128
    assert done.stderr.count("128 images in") == 1


@pytest.mark.slow
def test_torchrun_restarts_after_a_kill_and_not_a_bit_is_lost(pictures: str, tmp_path: Path) -> None:
    config = tiny(pictures, duration_images=480, checkpoint_images=160, log_images=16)
    command = ["torchrun", "--nproc-per-node=2", "--max-restarts=3", "-m", "elucidiff"]
    process = subprocess.Popen(
        [*command, *words(config, tmp_path / "run")], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    checkpoints = tmp_path / "run" / "checkpoints"
    while not list(checkpoints.glob("*.sha256")):
        assert process.poll() is None
        time.sleep(0.01)
    workers = [child for child in psutil.Process(process.pid).children() if "elucidiff" in child.cmdline()]
    assert len(workers) == 2
    workers[-1].send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "exitcode: -9" in said
    assert_same_run(tmp_path / "run", trained(config, tmp_path / "unbroken", 2))


@pytest.mark.slow
def test_torchrun_shows_a_mistake_in_one_line(tmp_path: Path) -> None:
    begun = time.monotonic()
    done = subprocess.run(
        ["torchrun", "--nproc-per-node=2", "-m", "elucidiff", "train", "digits", "--data", "missing.npz"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert time.monotonic() - begun < 60
    assert [line for line in done.stderr.splitlines() if "elucidiff train: error" in line] == [
        "elucidiff train: error: no data set 'missing.npz': there is no such file or folder"
    ]
    # torchrun adds a traceback of its own, in which no line is ours.
    assert str(Path(elucidiff.__file__).parent) not in done.stderr
