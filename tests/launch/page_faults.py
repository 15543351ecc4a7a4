"""How often the system had to hand out memory: a count, so it is the same on a busy machine."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

ROUNDS, BLOCKS, BLOCK = 10, 4, 48 * 2**20
LEAST = ROUNDS * BLOCKS * BLOCK // 2**21
"""Page faults if nothing is kept and all pages are huge."""


def faults() -> int:
    """Page faults while 4 blocks of 48 MiB are filled together, then freed, 10 times over."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(ROUNDS):
        blocks = [b"x" * BLOCK for _ in range(BLOCKS)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def faults_after(code: str, **environment: str) -> tuple[int, list[str]]:
    """Those of a process that runs ``code`` before, and the lines that it prints."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    program = f"{code}\nfrom runpy import run_path\nprint(run_path({__file__!r})['faults']())"
    done = subprocess.run(
        [sys.executable, "-c", program], env=own | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    return int(last), lines
