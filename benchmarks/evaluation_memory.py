"""Memory and time of `elucidiff evaluate` on 10,000 pictures of 32 x 32: `python -m benchmarks.evaluation_memory`.

The pictures are judged against themselves, so each is described once.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LIMIT_GIB = 1.5


def pictures(path: Path, count: int) -> None:
    """Write coloured gradients with noise, 32 x 32."""
    generator = np.random.default_rng(0)
    corners = generator.integers(0, 256, (count, 3, 2, 2)).astype(np.float32)
    weight = np.linspace(0, 1, 32, dtype=np.float32)
    sides = corners[..., :1] * (1 - weight) + corners[..., 1:] * weight
    images = sides[:, :, :1] * (1 - weight[:, None]) + sides[:, :, 1:] * weight[:, None]
    noisy = images + generator.normal(0, 8, images.shape)
    np.savez(path, images=noisy.clip(0, 255).astype(np.uint8))


def main() -> int:
    """Print peak memory, time and the table; 1 if the peak is above 1.5 GiB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--extractor", default="efficientnet-lite0")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--metrics", default="fid,kid,precision,recall")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "pictures.npz"
        pictures(data, options.count)
        command = [sys.executable, "-m", "elucidiff.cli.main", "evaluate", str(data), str(data)]
        command += ["--extractor", options.extractor, "--metrics", options.metrics, "--device", "cpu"]
        command += ["--cache", folder, "--out", f"{folder}/out"]
        command += [] if options.weights is None else ["--weights", options.weights]
        start = time.monotonic()
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        seconds = time.monotonic() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss / 2**20
    print(f"{options.count:,} pictures by {options.extractor}: peak {peak:.2f} GiB, {seconds:,.0f} s, of which "
          f"{used.ru_utime:,.0f} s on the processor")  # fmt: skip
    return int(peak > LIMIT_GIB)


if __name__ == "__main__":
    sys.exit(main())
