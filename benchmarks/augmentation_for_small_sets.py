"""Does the paper's augmentation help on a small set, and from how many passes over it? The held-out loss decides.

    python -m benchmarks.augmentation_for_small_sets train SET COUNT on|off   # resumable; into runs/small-sets
    python -m benchmarks.augmentation_for_small_sets table        # writes docs/results/small-sets.md and .csv

SET is digits, or a data set of pictures, which are brought to 16 x 16; COUNT of its images are trained on, and 360
others held out. The learning rate is constant, so that every checkpoint of a run answers for a run of that length.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.nn.functional import adaptive_avg_pool2d

import elucidiff as ed
from benchmarks.tables import write_table
from elucidiff.augment import Augment
from elucidiff.data import Dataset
from elucidiff.data.subsets import evenly_spread
from elucidiff.networks import MPUNetSettings
from elucidiff.training import TrainingConfig, train
from elucidiff.training.learning_rate import Constant
from elucidiff.training.presets import preset

RUNS = Path("runs/small-sets")
HELD_OUT, SIDE, P = 360, 16, 0.12
IMAGES = {"digits": 80_000}
LONGEST = 64_000
CHECKPOINTS = 16

NOTES = """# Augmentation for small sets

`python -m benchmarks.augmentation_for_small_sets train SET COUNT on|off`, then `table`. Some images of a set,
with and without the paper's augmentation (p = 0.12), the same network, the same learning rate, held constant,
and one training each. The loss is that of the averaged weights on 360 held-out images, under p_train of the
training and without augmentation, the same noise every time; its standard error over these images is about
{error:.1%}, and as both columns have the same images and noise, their difference is known better than that.
`best` is the lowest at any checkpoint, and `ahead from` the first pass over the data from which on the
augmented training stays ahead.

"""


def config_of(name: str, augmented: bool) -> TrainingConfig:
    """The settings of a training: those of our presets, with a small network and a constant rate."""
    small = name == "digits"
    length = IMAGES.get(name, LONGEST)
    return dataclasses.replace(
        preset("digits" if small else "fashion-mnist"),
        conditional=True,
        validation_images=HELD_OUT,
        memorisation_samples=0,
        network=MPUNetSettings(16, (1, 2) if small else (1, 2, 4), 1, (4,)),
        augment=Augment.paper(P) if augmented else Augment(),
        batch_size=32,
        lr=2e-2,
        lr_gains=0.1,
        lr_ramp_images=6_400,
        lr_decay=Constant(),
        learned_loss_weighting=True,
        duration_images=length,
        max_minutes=None,
        ema_half_life_images=64_000,
        log_images=3_200,
        checkpoint_images=length // CHECKPOINTS,
        keep_checkpoints=1,
        device="cpu",
        compile="off",
    )


def images_of(name: str, count: int) -> Dataset:
    """``count`` images to train on and those to be held out, evenly spread over the set."""
    whole = ed.data.open(name)
    some = whole.select(evenly_spread(np.arange(len(whole)), count + HELD_OUT))
    if name == "digits":
        return some
    small = adaptive_avg_pool2d(some.images().float(), SIDE).round().byte()
    return Dataset.from_arrays(small, some.classes, name=Path(name).stem)


def train_on(name: str, count: int, augmented: bool) -> None:
    """Train, or go on with a training."""
    run_dir = RUNS / f"{Path(name).stem}-{count}-{'on' if augmented else 'off'}"
    resume = (run_dir / "checkpoints").exists()
    train(config_of(name, augmented), run_dir, dataset=images_of(name, count), resume=resume)


def losses(run_dir: Path) -> Mapping[int, tuple[float, float]]:
    """Held-out loss and its standard error by training images."""
    found = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    checked = [line for line in found if "validation_loss" in line]
    return {line["images"]: (line["validation_loss"], _error(line["validation_error_by_sigma"])) for line in checked}


def _error(by_sigma: Mapping[str, float]) -> float:
    """Of the mean of equally many images at each level."""
    errors = np.array([error for error in by_sigma.values() if np.isfinite(error)])
    return float(np.sqrt(np.square(errors).sum()) / len(errors))


def row_of(name: str, count: int) -> tuple[dict[str, str], float]:
    """A row of the table, and the share that the error is of the loss."""
    off, on = (losses(RUNS / f"{name}-{count}-{side}") for side in ("off", "on"))
    common = sorted(set(off) & set(on))
    ahead = _from_on(common, [on[images][0] < off[images][0] for images in common])
    lowest = {side: min(common, key=lambda images: known[images][0]) for side, known in (("off", off), ("on", on))}
    best_off, best_on = off[lowest["off"]][0], on[lowest["on"]][0]
    row = {
        "set": name,
        "images": f"{count:,}",
        "passes": f"{common[-1] / count:,.0f}",
        "last, without": f"{off[common[-1]][0]:.4f}",
        "last, with": f"{on[common[-1]][0]:.4f}",
        "best, without": f"{best_off:.4f} after {lowest['off'] / count:,.0f} passes",
        "best, with": f"{best_on:.4f} after {lowest['on'] / count:,.0f} passes",
        "ahead from": "never" if ahead is None else f"{ahead / count:,.0f} passes",
    }
    return row, off[common[-1]][1] / off[common[-1]][0]


def _from_on(images: Sequence[int], ahead: Sequence[bool]) -> int | None:
    """The first from which on it holds to the end."""
    first: int | None = None
    for seen, holds in zip(images, ahead, strict=True):
        first = (seen if first is None else first) if holds else None
    return first


def table() -> None:
    """Write what was measured so far."""
    done = sorted(
        {tuple(path.parent.name.rsplit("-", 2)[:2]) for path in RUNS.glob("*-on/metrics.jsonl")}, key=_order
    )
    found: list[tuple[dict[str, str], float]] = [row_of(name, int(count)) for name, count in done]
    error = max(share for _, share in found)
    print(write_table("small-sets", NOTES.format(error=error), [row for row, _ in found]))


def _order(key: Any) -> tuple[str, int]:
    return key[0], int(key[1])


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "train":
        train_on(rest[0], int(rest[1]), rest[2] == "on")
    else:
        table()
