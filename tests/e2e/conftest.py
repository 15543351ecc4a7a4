"""A model that was really trained, for a few seconds, by the command line."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from elucidiff.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]

TINY = (
    "--duration-images=640", "--batch-size=32", "--validation-images=100", "--network.base-channels=16",
    "--network.blocks-per-level=1", "--lr-ramp-images=64", "--checkpoint-images=320", "--log-images=64",
    "--device=cpu",
)  # fmt: skip


@pytest.fixture(scope="session")
def elucidiff() -> Run:
    """Run ``elucidiff`` with the given words, in this process, which saves seconds of imports a command."""

    def run(*words: str | Path) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(word) for word in words])
        return Done(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def trained(elucidiff: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a conditional digits model."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    done = elucidiff("train", "digits", "--run-dir", folder, *TINY)
    assert done.returncode == 0, done.stderr
    return folder
