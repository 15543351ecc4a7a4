"""SIGKILL at any moment of an evaluation: the same command goes on, and ends with the same table."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.networks import UNet

KILLS = 8


def begin(words: Sequence[str]) -> int:
    """Run a command in a process of its own, which is quicker to fork than to start; its number."""
    process = os.fork()
    if process == 0:
        with contextlib.suppress(BaseException):
            os._exit(main(words))
        os._exit(99)
    return process


def blocks(*folders: str) -> list[Path]:
    """Blocks of features that are whole."""
    found = [path for folder in folders for path in Path(folder).rglob("*.npz")]
    return [path for path in found if not path.name.startswith(".")]


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=())
    Denoiser(network, ed.preconditioning.EDM()).save("model")
    words = ["evaluate", "model", "digits", "--extractor", "pca-5", "--sampling.n", "2", "--device", "cpu"]
    words += ["--seeds", "0-767", "--metrics", "fid", "--cache", "cache", "--out"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a fork has one thread, whatever its parent had
    try:
        assert main([*words, "whole", "--overwrite"]) == 0
        before = {file.name: file.read_bytes() for file in Path("whole").glob("results.*")}
        for path in blocks("cache"):
            path.unlink()
        chance, kept = random.Random(0), []
        for _ in range(KILLS):
            process = begin([*words, "killed"])
            goal = min(len(blocks("cache", "killed")) + chance.randint(0, 4), 20)  # of 22, statistics among them
            while len(blocks("cache", "killed")) < goal:
                time.sleep(0.0005)
            time.sleep(chance.uniform(0.0, 0.05))
            os.kill(process, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
            kept.append((len(blocks("cache")), len(blocks("killed"))))
        # Some were killed while the reference was described, some while samples were.
        assert any(0 < reference < 15 for reference, _ in kept)
        assert any(0 < samples < 6 for _, samples in kept)
        assert os.waitstatus_to_exitcode(os.waitpid(begin([*words, "killed"]), 0)[1]) == 0
        assert {file.name: file.read_bytes() for file in Path("killed").glob("results.*")} == before
        assert len(before) == 2
    finally:
        torch.set_num_threads(threads)
