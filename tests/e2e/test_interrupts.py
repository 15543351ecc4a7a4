"""Ctrl-C in the middle of a training: saved, told, and resumed to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import TINY

LONGER = ("--duration-images=6400", *(flag for flag in TINY if not flag.startswith("--duration")))


def start(run_dir: Path, *words: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "elucidiff.cli.main",
        "train",
        "digits",
        "--run-dir",
        str(run_dir),
        *LONGER,
        *words,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_interrupted_and_resumed(tmp_path: Path, number: signal.Signals, code: int) -> None:
    metrics = tmp_path / "run" / "metrics.jsonl"
    process = start(tmp_path / "run")
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 3):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert f"stopped by {number.name}, all work is saved; the same command with --resume goes on" in said

    assert start(tmp_path / "run", "--resume").wait(timeout=300) == 0
    assert start(tmp_path / "unbroken").wait(timeout=300) == 0
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("run", "unbroken")]
    assert weights[0] == weights[1]
