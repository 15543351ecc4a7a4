"""The picture of the guide to inverse problems: what a Fashion-MNIST model makes of half a boot and a blurred one.

    python -m benchmarks.restored_picture MODEL    # writes docs/images/restored.png

The boot is the first test image. All seeds are shown, none chosen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import elucidiff as ed
from elucidiff.cli.common.samples import write_sheet
from elucidiff.data import to_unit

PICTURE = Path("docs/images/restored.png")
SEEDS = range(8)
NOISE = 0.01


def main() -> None:
    """Draw the samples and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    denoiser = ed.load(parser.parse_args().model).eval()
    garments = ed.data.open("fashion-mnist:test")
    boot, labels = to_unit(garments.images([0])).double(), garments.labels([0])

    known = torch.ones(28, 28, dtype=torch.bool)
    known[:20, 10:] = False
    mask, pool = ed.inverse.Mask(known), ed.inverse.AveragePool(4)
    rows = []
    for measure in (mask, pool):
        y = measure(boot)
        shown = y if measure is mask else y.repeat_interleave(4, 2).repeat_interleave(4, 3)
        posterior = ed.inverse.Posterior(denoiser, measure, y, NOISE)
        rows += [boot, shown, ed.Sampler().run(posterior, SEEDS, labels).x]
    write_sheet(PICTURE, torch.cat(rows), 2 + len(SEEDS), pictures=True)


if __name__ == "__main__":
    main()
