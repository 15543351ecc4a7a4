"""The plan of ``elucidiff train DATA`` against the fixed preset of before, at equal minutes of one core.

    python -m benchmarks.planned_training train SET plan|preset SEED   # resumable; into runs/planned
    python -m benchmarks.planned_training measure                      # what was trained and is not measured yet
    python -m benchmarks.planned_training table              # writes docs/results/planned-training.md and .csv

SET is digits (8x8, 1,797 pictures), garments (Fashion-MNIST, 28x28, 6,000 of its pictures) or cifar (CIFAR-10 (JPEG),
32x32, 10,000 of its pictures, from ``$CIFAR10_JPEG/train.zip``). The preset is what was advised before: ``train
fashion-mnist --data SET``. Minutes are processor time of one core: how many images a side sees in them follows from
the processor time of its optimiser steps, so a run may share the machine with others.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

import elucidiff as ed
from benchmarks.held_out_loss import held_out_loss
from benchmarks.tables import write_table
from elucidiff.data import Dataset, to_unit
from elucidiff.data.subsets import evenly_spread, split
from elucidiff.evaluation.quality.evaluation import evaluate
from elucidiff.files import write_whole
from elucidiff.sampling import Sampler, to_uint8
from elucidiff.sampling.grid import range_for
from elucidiff.training import TrainingConfig, train
from elucidiff.training.batches import draw
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.planning import Findings, choosing
from elucidiff.training.planning.timing import Speed
from elucidiff.training.presets import preset
from elucidiff.training.state import TrainingState

RUNS = Path("runs/planned")
MINUTES = float(os.environ.get("MINUTES", "5"))
HELD_OUT, SAMPLES, STEPS = 500, 500, 9
COUNTS = {"digits": None, "garments": 6_000, "cifar": 10_000}

NOTES = """# The plan against the preset of before

`python -m benchmarks.planned_training train SET plan|preset SEED`, `measure` and `table`: what `elucidiff train
SET` plans, against `train fashion-mnist --data SET`, {minutes:g} minutes of one core each (processor time; what
a side sees in them follows from the time of its optimiser steps). The held-out loss is that of Karras et al.
2022, Eq. 2, at the paper's noise levels for CIFAR-10 whatever was trained, on {held_out} pictures that neither
saw; its error is the standard error over seeds. The Frechet distance is that of 20 principal components,
{samples} samples against the training pictures, the mean and standard error over seeds. One seed tells nothing
of chance: its error is left out.

"""


def data_of(name: str) -> tuple[Dataset, Dataset]:
    """What is trained on, and what is held out of both sides."""
    source = {"digits": "digits", "garments": "fashion-mnist", "cifar": f"{os.environ.get('CIFAR10_JPEG')}/train.zip"}
    whole = ed.data.open(source[name])
    count = COUNTS[name]
    if count is not None:
        whole = whole.select(evenly_spread(np.arange(len(whole)), count + HELD_OUT)).in_memory()
    seen, unseen = split(whole, HELD_OUT)
    return seen.in_memory(), unseen


def config_of(name: str, side: str, seed: int, seen: Dataset) -> TrainingConfig:
    """The settings of a side, with the length that its steps leave it."""
    if side == "plan":
        found = Findings.of_report(name, ed.data.inspect(seen))
        choosing.speed_of = _processor_speed  # type: ignore[assignment]
        config = choosing.plan(found, minutes=MINUTES, device="cpu", seed=seed).config
    else:
        config = dataclasses.replace(preset("fashion-mnist"), seed=seed, device="cpu")
    speed = _processor_speed(config, seen.shape, seen.label_dim, torch.device("cpu")).images_per_second
    images = round(60 * MINUTES * speed)
    return dataclasses.replace(
        config, data=name, duration_images=images, max_minutes=None, validation_images=0, memorisation_samples=0,
        preview_images=None, checkpoint_images=max(images // 4, 1), compile="off", keep_checkpoints=1,
    )  # fmt: skip


def _processor_speed(config: TrainingConfig, shape: tuple[int, ...], label_dim: int, device: torch.device) -> Speed:
    """Images a second of processor time, the median of some steps."""
    torch.set_num_threads(1)
    state = TrainingState(config, shape, label_dim, device)
    images = torch.zeros(config.batch_size, *shape)
    labels = torch.zeros(config.batch_size, label_dim) if label_dim else None
    taken = []
    for _ in range(6):
        begun = time.process_time()
        draws = draw(config.seed, state.step, images.shape, state.objective.noise, state.augment)
        update(state, noisy_batches(state, images, labels, draws))
        taken.append(time.process_time() - begun)
    weights = sum(weight.numel() for weight in state.denoiser.network.parameters())
    return Speed(config.batch_size / statistics.median(taken[1:]), weights)


def train_side(name: str, side: str, seed: int) -> None:
    """Train, or go on with a training."""
    seen, _ = data_of(name)
    run_dir = RUNS / f"{name}-{side}-{seed}"
    resume = (run_dir / "config.yaml").exists()
    config = TrainingConfig.load(run_dir / "config.yaml") if resume else config_of(name, side, seed, seen)
    train(config, run_dir, dataset=seen, resume=resume)


def measure(run_dir: Path) -> None:
    """Held-out loss and distance of a model, into its run folder."""
    name, side, seed = run_dir.name.split("-")
    seen, unseen = data_of(name)
    model = ed.load(run_dir / "model").eval()
    low, high = range_for(model.sigma_data)
    sampler = Sampler(f"karras:n={STEPS},sigma_min={low},sigma_max={high}")
    drawn = Dataset.from_arrays(to_uint8(sampler.run(model, range(SAMPLES)).x).numpy())
    found = evaluate(drawn, seen.without_labels(), metrics=["fid"], extractor="pca-20")
    loss = held_out_loss(model, to_unit(unseen.images()), unseen.labels())
    config = TrainingConfig.load(run_dir / "config.yaml")
    weights = sum(weight.numel() for weight in model.network.parameters())
    result = {
        "set": name, "side": side, "seed": int(seed), "loss": loss, "frechet": found["fid"].value,
        "images": config.duration_images, "weights": weights,
    }  # fmt: skip
    write_whole(run_dir / "measured.json", json.dumps(result, indent=1) + "\n")
    print(result)


def table() -> None:
    """Write what was measured so far."""
    found = [json.loads(path.read_text()) for path in sorted(RUNS.glob("*/measured.json"))]
    rows = []
    for name in COUNTS:
        for side in ("preset", "plan"):
            of = [each for each in found if (each["set"], each["side"]) == (name, side)]
            if not of:
                continue
            rows.append(
                {
                    "set": name,
                    "settings": "fashion-mnist --data" if side == "preset" else "planned",
                    "seeds": str(len(of)),
                    "images": f"{statistics.mean(each['images'] for each in of):,.0f}",
                    "weights": f"{of[0]['weights'] / 1e6:.2f} M",
                    "held-out loss": _mean([each["loss"] for each in of], 4),
                    "Frechet distance": _mean([each["frechet"] for each in of], 2),
                }
            )
    print(write_table("planned-training", NOTES.format(minutes=MINUTES, held_out=HELD_OUT, samples=SAMPLES), rows))


def _mean(values: list[float], digits: int) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.{digits}f}"


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "train":
        train_side(rest[0], rest[1], int(rest[2]))
    elif verb == "measure":
        for folder in sorted(RUNS.iterdir()):
            if (folder / "model").exists() and not (folder / "measured.json").exists():
                measure(folder)
    else:
        table()
