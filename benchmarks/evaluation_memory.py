"""Memory and time of `elucidiff evaluate` on 10,000 pictures of 32 x 32, and whether it says the same twice.

    python -m benchmarks.evaluation_memory

They are evaluated against a fifth as many others, twice, each time by a process of its own that has nothing cached.
Writes docs/results/evaluation-memory.md and .csv.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import write_table

LIMIT_GIB = 1.5

# The most memory that the process itself has held: what its parent held counts in ru_maxrss.
EVALUATE = """
import sys
from pathlib import Path
from elucidiff.cli.main import main
code = main(sys.argv[1:])
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 2**20)
sys.exit(code)
"""

NOTES = """# 10,000 pictures evaluated

`python -m benchmarks.evaluation_memory`, one thread. {count:,} pictures of 32 x 32, coloured gradients with noise,
against {others:,} others, twice, each time by a new process with an empty cache.
The metrics are **{same}** to the last digit.

"""


def pictures(path: Path, count: int, seed: int) -> None:
    """Write coloured gradients with noise, 32 x 32."""
    generator = np.random.default_rng(seed)
    corners = generator.integers(0, 256, (count, 3, 2, 2)).astype(np.float32)
    weight = np.linspace(0, 1, 32, dtype=np.float32)
    sides = corners[..., :1] * (1 - weight) + corners[..., 1:] * weight
    images = sides[:, :, :1] * (1 - weight[:, None]) + sides[:, :, 1:] * weight[:, None]
    noisy = images + generator.normal(0, 8, images.shape)
    np.savez(path, images=noisy.clip(0, 255).astype(np.uint8))


def evaluation(images: Path, reference: Path, folder: Path, words: list[str]) -> tuple[dict[str, Any], float, float]:
    """Results, peak memory in GiB and seconds of one evaluation."""
    command = [sys.executable, "-c", EVALUATE, "evaluate", str(images), str(reference), *words, "--device", "cpu"]
    command += ["--cache", str(folder / "cache"), "--out", str(folder / "out")]
    begun = time.monotonic()
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    seconds = time.monotonic() - begun
    print(done.stdout)
    found = json.loads((folder / "out" / "results.json").read_text())
    return found, float(done.stdout.splitlines()[-1]), seconds


def main() -> int:
    """Write the page; 1 if the peak is above 1.5 GiB or the metrics differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--extractor", default="efficientnet-lite0")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--metrics", default="fid,kid,precision,recall")
    options = parser.parse_args()
    words = ["--extractor", options.extractor, "--metrics", options.metrics]
    words += [] if options.weights is None else ["--weights", options.weights]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, others = folder / "images.npz", folder / "others.npz"
        pictures(images, options.count, seed=0)
        pictures(others, options.count // 5, seed=1)
        runs = [evaluation(images, others, folder / which, words) for which in ("1", "2")]
    (first, _, _), (second, _, _) = runs
    same = first["metrics"] == second["metrics"]
    rows = [
        {
            "run": str(k),
            "extractor": options.extractor,
            **{name: repr(metric["value"]) for name, metric in found["metrics"].items()},
            "peak memory, GiB": f"{peak:.2f}",
            "seconds": f"{seconds:.0f}",
        }
        for k, (found, peak, seconds) in enumerate(runs, 1)
    ]
    counts = {"count": options.count, "others": options.count // 5}
    print(write_table("evaluation-memory", NOTES.format(same="equal" if same else "not equal", **counts), rows))
    return int(not same or max(peak for _, peak, _ in runs) > LIMIT_GIB)


if __name__ == "__main__":
    sys.exit(main())
