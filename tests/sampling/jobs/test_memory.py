"""The memory of a job is that of a few samples, however many it draws."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from elucidiff.sampling import Sampler
from elucidiff.sampling.jobs import run_job
from tests.peak_memory import peak_memory
from tests.sampling.jobs.tiny import Shrink, task

large = Shrink()
large.sample_shape = (1, 64, 64)  # 16 KiB
chosen = {"pictures": False, "shard_size": 500, "batch_size": 16, "sampler": Sampler(n=2, solver="euler")}
run_job(lambda index: task(sys.argv[2], large, output=sys.argv[3], **chosen), sys.argv[1], processes=1)
print(peak_memory() / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("output", ["tar", "zip"])
def test_memory_does_not_grow_with_the_job(tmp_path: Path, output: str) -> None:
    peaks = []
    for last in (499, 9999):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / str(last)), f"0-{last}", output]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        peaks.append(float(done.stdout))
    assert peaks[1] < peaks[0] + 40  # MiB; the samples that are more are 148
