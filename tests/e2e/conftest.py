"""A model that was really trained, for a few seconds, by the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

TINY = (
    "--duration-images=640", "--batch-size=32", "--validation-images=100", "--network.base-channels=16",
    "--network.blocks-per-level=1", "--lr-ramp-images=64", "--checkpoint-images=320", "--log-images=64", "--device=cpu",
)  # fmt: skip


@pytest.fixture(scope="session")
def elucidiff() -> Run:
    """Run ``elucidiff`` with the given words, in a process of its own."""

    def run(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "elucidiff.cli.main", *map(str, words)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)

    return run


@pytest.fixture(scope="session")
def trained(elucidiff: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a conditional digits model."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    done = elucidiff("train", "digits", "--run-dir", folder, *TINY)
    assert done.returncode == 0, done.stderr
    return folder
