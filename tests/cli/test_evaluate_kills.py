"""SIGKILL at any moment of an evaluation: the same command goes on, and ends with the same table."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.networks import UNet


def begin(words: Sequence[str], renames: int | None = None, after: bool = False) -> int:
    """Run a command in a process of its own, which is quicker to fork than to start; its number.

    Args:
        words: after the program's name.
        renames: it is killed when so many files are about to appear; None: it is not killed.
        after: it is killed when the last of them has appeared.
    """
    process = os.fork()
    if process == 0:
        with contextlib.suppress(BaseException):
            if renames is not None:
                mortal(renames, after)
            os._exit(main(words))
        os._exit(99)
    return process


def mortal(renames: int, after: bool) -> None:
    """Have this process killed; see :func:`begin`."""
    left, rename = renames, Path.replace

    def last(path: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        moved = rename(path, target)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return moved

    Path.replace = last  # type: ignore[method-assign, assignment]


def blocks(*folders: str) -> list[Path]:
    """Blocks of features that are whole."""
    found = [path for folder in folders for path in Path(folder).rglob("*.npz")]
    return [path for path in found if not path.name.startswith(".")]


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=())
    Denoiser(network, ed.preconditioning.EDM()).save("model")
    words = ["evaluate", "model", "digits", "--extractor", "pca-5", "--n", "2", "--device", "cpu"]
    words += ["--seeds", "0-767", "--metrics", "fid", "--cache", "cache", "--out"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a fork has one thread, whatever its parent had
    try:
        assert main([*words, "whole", "--overwrite"]) == 0
        before = {file.name: file.read_bytes() for file in Path("whole").glob("results.*")}
        for path in blocks("cache"):
            path.unlink()
        chance, kept = random.Random(0), []
        while True:
            # A file is written under another name before it appears, so the first of these leaves a half one.
            process = begin([*words, "killed"], chance.randint(2, 5), after=chance.random() < 0.5)
            if (code := os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])) == 0:
                break
            assert code == -signal.SIGKILL
            kept.append((len(blocks("cache")), len(blocks("killed"))))
        # Some were killed while the reference was described, some while samples were.
        assert any(0 < reference < 15 for reference, _ in kept)
        assert any(0 < samples < 6 for _, samples in kept)
        assert len(kept) > 3
        assert {file.name: file.read_bytes() for file in Path("killed").glob("results.*")} == before
        assert len(before) == 2
    finally:
        torch.set_num_threads(threads)
