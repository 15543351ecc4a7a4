"""Does the paper's augmentation help on a small set, and from how many passes over it? The held-out loss decides.

    python -m benchmarks.augmentation_for_small_sets train SET COUNT on|off SEED   # resumable; into runs/small-sets
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

import numpy as np
from scipy.stats import t as student
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
LENGTH, CHECKPOINTS = 192_000, 24

NOTES = """# Augmentation for small sets

`python -m benchmarks.augmentation_for_small_sets train SET COUNT on|off SEED`, then `table`. Some images of a set,
with and without the paper's augmentation (p = 0.12), the same network, the same learning rate, held constant. The
loss is that of the averaged weights on 360 held-out images, under p_train of the training and without augmentation,
the same noise every time. The effect is the loss with augmentation minus that without, in percent of the latter, the
mean over seeds and its 95% interval; negative: augmentation helps. A row of **best** compares the lowest losses of
both runs, wherever in them they lie: what stopping in time can have.

"""


def config_of(name: str, augmented: bool, seed: int) -> TrainingConfig:
    """The settings of a training: those of our presets, with a small network and a constant rate."""
    small = name == "digits"
    return dataclasses.replace(
        preset("digits" if small else "fashion-mnist"),
        seed=seed,
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
        duration_images=LENGTH,
        max_minutes=None,
        ema_half_life_images=64_000,
        log_images=3_200,
        checkpoint_images=LENGTH // CHECKPOINTS,
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


def train_on(name: str, count: int, augmented: bool, seed: int) -> None:
    """Train, or go on with a training."""
    run_dir = RUNS / f"{Path(name).stem}-{count}-{'on' if augmented else 'off'}-{seed}"
    resume = (run_dir / "checkpoints").exists()
    train(config_of(name, augmented, seed), run_dir, dataset=images_of(name, count), resume=resume)


def losses(run_dir: Path) -> Mapping[int, float]:
    """Held-out loss by training images."""
    found = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {line["images"]: line["validation_loss"] for line in found if "validation_loss" in line}


def rows_of(name: str, count: int) -> list[dict[str, str]]:
    """The rows of a set: at some numbers of passes, and at the best of each run."""
    pairs = []
    for off in sorted(RUNS.glob(f"{name}-{count}-off-*")):
        on = off.with_name(off.name.replace("-off-", "-on-"))
        if on.exists() and min(max(losses(off), default=0), max(losses(on), default=0)) == LENGTH:
            pairs.append((losses(off), losses(on)))
    if not pairs:
        return []
    common = sorted(set.intersection(*(set(each) for pair in pairs for each in pair)))
    told = [images for images in common if (common.index(images) + 1) % (CHECKPOINTS // 8) == 0]
    rows = [
        _row(name, count, f"{images / count:,.0f}", [(off[images], on[images]) for off, on in pairs])
        for images in told
    ]
    best = [(min(off.values()), min(on.values())) for off, on in pairs]
    return [*rows, _row(name, count, "**best**", best)]


def _row(name: str, count: int, passes: str, pairs: Sequence[tuple[float, float]]) -> dict[str, str]:
    without, with_ = (float(np.mean(side)) for side in zip(*pairs, strict=True))
    effect = np.array([100 * (on / off - 1) for off, on in pairs])
    told = f"{effect.mean():+.1f}%"
    if len(effect) > 1:
        half = student.ppf(0.975, len(effect) - 1) * effect.std(ddof=1) / len(effect) ** 0.5
        told += f" [{effect.mean() - half:+.1f}, {effect.mean() + half:+.1f}]"
    return {
        "set": name,
        "images": f"{count:,}",
        "passes": passes,
        "without": f"{without:.4f}",
        "with": f"{with_:.4f}",
        "effect": told,
        "seeds": f"{len(pairs)}",
    }


def table() -> None:
    """Write what was measured so far."""
    names = {tuple(path.name.rsplit("-", 3)[:2]) for path in RUNS.glob("*-on-*")}
    done = sorted((name, int(count)) for name, count in names)
    print(write_table("small-sets", NOTES, [row for name, count in done for row in rows_of(name, count)]))


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "train":
        train_on(rest[0], int(rest[1]), rest[2] == "on", int(rest[3]))
    else:
        table()
