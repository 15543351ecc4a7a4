"""A sampling job that is interrupted three times, with 1, 2, 1 and 2 processes, against one that is not.

    python -m benchmarks.interrupted_sampling MODEL [--samples 20000] [--n 4] [--out FOLDER]

The interruptions are SIGKILL, SIGTERM and SIGKILL to the whole process group, each after about a quarter of the work.
Compares all files but the log byte by byte, and the peak memory of the unbroken job with that of a job of 1,000.
Writes docs/results/interrupted-sampling.md and .csv.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tables import write_table

PEAK = """
import resource, sys
from elucidiff.cli.main import main
code = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
sys.exit(code)
"""
# One batch size and backend: before a long job begins, others would be tried, which takes memory that a short job
# does without.
SHARD, BATCH = 500, 50

NOTES = """# An interrupted sampling job against one that nobody disturbed

{samples:,} samples with {n} Euler steps, in batches of {batch} and tar shards of {shard}. Signals went to the whole
process group after about a quarter of the shards each. All files but the log, {files} with {size:,} bytes, are
**identical** to those of one job that nobody disturbed. Peak memory of one process: {small:.0f} MiB for 1,000
samples, {large:.0f} MiB for {samples:,}.

    python -m benchmarks.interrupted_sampling MODEL --samples {samples} --n {n}

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--n", type=int, default=4, help="Euler steps")
    parser.add_argument("--out", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        small = draw(options, folder / "small", 1000)
        large = draw(options, folder / "unbroken", options.samples)
        rows = interrupted(options, folder / "interrupted")
        files, size = compare(folder / "unbroken", folder / "interrupted")
    facts = {
        "samples": options.samples,
        "n": options.n,
        "shard": SHARD,
        "batch": BATCH,
        "small": small,
        "large": large,
    }
    print(write_table("interrupted-sampling", NOTES.format(files=files, size=size, **facts), rows))


def words(options: argparse.Namespace, out: Path, samples: int, processes: int) -> list[str]:
    """The command line after the program."""
    return [
        "sample", options.model, "--out", str(out), "--seeds", f"0-{samples - 1}", "--solver", "euler",
        "--n", str(options.n), "--format", "tar", "--shard-size", str(SHARD), "--processes", str(processes),
        "--batch-size", str(BATCH), "--backend", "eager",
    ]  # fmt: skip


def draw(options: argparse.Namespace, out: Path, samples: int) -> float:
    """Draw without interruption, in one process; its peak memory in MiB."""
    begun = time.monotonic()
    command = [sys.executable, "-c", PEAK, *words(options, out, samples, 1)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    print(f"unbroken: {said[0]}, {time.monotonic() - begun:.0f} s in all")
    return float(said[-1].split()[1])


def interrupted(options: argparse.Namespace, out: Path) -> list[dict[str, str]]:
    """Draw in four sessions; what happened to each."""
    rows = []
    shards = -(-options.samples // SHARD)
    endings = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, None)
    for session, (processes, ending) in enumerate(zip((1, 2, 1, 2), endings, strict=True)):
        command = [sys.executable, "-m", "elucidiff", *words(options, out, options.samples, processes)]
        process = subprocess.Popen(command, start_new_session=True)
        while ending and len(list(out.glob("records/[!.]*.json"))) < shards * (session + 1) // 4:
            assert process.poll() is None
            time.sleep(0.01)
        if ending:
            os.killpg(process.pid, ending)
        code = process.wait()
        there = len(list(out.glob("records/[!.]*.json")))
        half = len(list(out.glob(".*.tar")))
        rows.append(
            {
                "session": str(session + 1),
                "processes": str(processes),
                "ended by": ending.name if ending else "its end",
                "exit code": str(code),
                "shards there": f"{there} of {shards}",
                "shards half written": str(half),
            }
        )
    return rows


def compare(one: Path, other: Path) -> tuple[int, int]:
    """How many files but the log there are, and their bytes, if they are all there and equal in both."""
    left, right = contents(one), contents(other)
    assert left == right, [str(name) for name in {*left, *right} if left.get(name) != right.get(name)]
    return len(left), sum(map(len, left.values()))


def contents(folder: Path) -> dict[Path, bytes]:
    """All files but the log and those whose names begin with a point."""
    files = [path for path in folder.rglob("[!.]*") if path.is_file() and path.name != "log.txt"]
    return {path.relative_to(folder): path.read_bytes() for path in files}


if __name__ == "__main__":
    main()
