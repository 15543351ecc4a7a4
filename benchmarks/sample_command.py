"""The cost of ``elucidiff sample`` from the first import to the last file, against a plain script's.

Both draw 64 images by Heun's method in 18 steps in one process with one thread, in turns; medians of processor time,
which other work on the machine hardly changes. The script loads the same network, calls it in a plain loop on 16
images at a time, and writes PNG files: no checks, no record, nothing that goes on after a stop.

    python -m benchmarks.sample_command MODEL [ROUNDS]
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile

PLAIN = """
import itertools, pathlib, sys
import torch
from PIL import Image
import elucidiff as ed

torch.set_num_threads(1)
model, out = sys.argv[1], pathlib.Path(sys.argv[2])
denoiser, sigmas = ed.load(model), ed.steps.karras(18)
for start in range(0, 64, 16):
    generators = [torch.Generator().manual_seed(seed) for seed in range(start, start + 16)]
    x = torch.stack([torch.randn(denoiser.sample_shape, generator=each) for each in generators]).double() * sigmas[0]
    labels = None
    if dim := denoiser.label_dim:
        labels = torch.eye(dim)[[int(torch.randint(dim, (), generator=each)) for each in generators]]
    with torch.no_grad():
        for sigma, after in itertools.pairwise(sigmas):
            slope = (x - denoiser(x, sigma, labels).double()) / sigma
            moved = x + (after - sigma) * slope
            if after > 0:
                slope = (slope + (moved - denoiser(moved, after, labels).double()) / after) / 2
            x = x + (after - sigma) * slope
    pixels = (x * 127.5 + 128).clip(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for k, image in enumerate(pixels):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(out / f"{start + k:08d}.png")
"""


def seconds(arguments: list[str]) -> float:
    """Processor time of a Python program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(model: str, rounds: int) -> None:
    """Print the ratio."""
    with tempfile.TemporaryDirectory() as out:
        command = ["-m", "elucidiff", "sample", model, "--seeds", "0-63", "--processes", "1", "--device", "cpu"]
        ways = {
            "elucidiff sample": [*command, "--overwrite", "--out", f"{out}/ours"],
            "plain script": ["-c", PLAIN, model, out],
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for arguments in ways.values():
            seconds(arguments)  # files are read from the disk
        for _ in range(rounds):
            for name, arguments in ways.items():
                times[name].append(seconds(arguments))
    ours, theirs = (statistics.median(each) for each in times.values())
    ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
    print(f"{model}: elucidiff sample {ours:.2f} s, a plain script {theirs:.2f} s; {ratio:.2f} times as long")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5)
