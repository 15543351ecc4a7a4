"""SIGKILL, which nothing can prepare for, twenty times in one short run, at any moment: not a bit is lost."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.training.launching import Group
from tests.training.test_loop import assert_same_run
from tests.training.test_processes import tiny, trained, words

KILLS = 20


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_twenty_kills(count: int, pictures: str, tmp_path: Path) -> None:
    """A third at any moment, the start included; a third in the middle of a step; a third while a file is written.

    Of two processes, every other time one alone is killed, and the other is told to stop.
    """
    config = tiny(pictures, duration_images=800, checkpoint_images=24, log_images=16, keep_checkpoints=2)
    unbroken = trained(config, tmp_path / "unbroken", count)
    run_dir = tmp_path / "killed"
    run_dir.mkdir()
    command = words(config, run_dir, "--resume")
    chance = random.Random(0)
    killed, torn = 0, 0
    while killed < KILLS:
        group = Group(command, count, tmp_path / "said")
        wait_for_a_moment(run_dir, group, killed % 3, chance)
        torn += bool(unfinished(run_dir))
        group.processes[-1].kill()
        group.send(signal.SIGKILL if killed % 2 else signal.SIGTERM)  # torchrun ends the others with the latter
        ended = group.wait()
        assert ended[-1].code == -signal.SIGKILL, f"too late for kill {killed}: {ended[-1].said}"
        killed += 1
    assert torn >= KILLS // 6
    trained(config, run_dir, count, "--resume")
    assert_same_run(run_dir, unbroken)


def wait_for_a_moment(run_dir: Path, group: Group, kind: int, chance: random.Random) -> None:
    """Until the next kill: some time (0), some time after the next line of the log (1), or the next half file (2)."""
    if kind == 0:
        time.sleep(chance.uniform(0.0, 1.0))
        return
    log = run_dir / "metrics.jsonl"
    lines = log.stat().st_size if log.exists() else 0
    while group.alive():
        if kind == 1 and log.exists() and log.stat().st_size > lines:
            time.sleep(chance.uniform(0.0, 0.1))
            return
        if kind == 2 and unfinished(run_dir):
            return
        time.sleep(0.0005)


def unfinished(run_dir: Path) -> list[Path]:
    """Files that are being written in the run folder, and checkpoints that lack their checksum."""
    hidden = [path for path in run_dir.glob("*/.*") if path.is_file()]
    weights = run_dir.glob("checkpoints/*.safetensors")
    return hidden + [path for path in weights if not path.with_suffix(".sha256").exists()]
