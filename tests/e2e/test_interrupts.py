"""Ctrl-C and SIGTERM in the middle of a training: saved, told, and resumed to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import TINY

# Checkpoints only when stopped and at the end: each draws a preview, which takes longer than the training here.
FLAGS = (*TINY, "--duration-images=3200", "--checkpoint-images=1000000")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def start() -> Start:
    def run(run_dir: Path, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "elucidiff.cli.main", "train", "digits", "--run-dir", str(run_dir), *FLAGS]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True, env=environment)

    return run


@pytest.fixture(scope="module")
def unbroken(start: Start, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    process = start(folder)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_stopped_and_resumed(
    start: Start, unbroken: bytes, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    metrics = tmp_path / "run" / "metrics.jsonl"
    process = start(tmp_path / "run")
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 5):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == code, said
    assert f"stopped by {number.name}, all work is saved; the same command with --resume goes on" in said

    process = start(tmp_path / "run", "--resume")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == unbroken
