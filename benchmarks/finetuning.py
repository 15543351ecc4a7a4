"""Fine-tuning against training from scratch: other classes of a set, a quarter of the images.

    python -m benchmarks.finetuning train SIDE SEED   # resumable; into runs/finetuning; SIDE: pretrained, scratch,
                                                      # scratch-quarter, tuned-quarter, tuned-sixteenth
    python -m benchmarks.finetuning measure           # what was trained and is not measured yet
    python -m benchmarks.finetuning table             # writes docs/results/fine-tuning.md and .csv

Fashion-MNIST at 8 x 8: a model is trained on seven of the classes, and its weights are the start of trainings on the
three others, which it has never seen. Time is counted in training images, so that it does not matter what else the
machine does.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from pathlib import Path

import numpy as np
from scipy import stats
from torch.nn.functional import adaptive_avg_pool2d

import elucidiff as ed
from benchmarks.held_out_loss import held_out_loss
from benchmarks.tables import markdown, write_results
from elucidiff.data import Dataset, to_unit
from elucidiff.data.subsets import of_each_class
from elucidiff.evaluation.quality.evaluation import evaluate
from elucidiff.files import write_whole
from elucidiff.networks import MPUNetSettings
from elucidiff.sampling import Sampler, to_uint8
from elucidiff.sampling.grid import range_for
from elucidiff.training import TrainingConfig, train
from elucidiff.training.learning_rate import Cosine
from elucidiff.training.presets import preset

RUNS = Path("runs/finetuning")
SIDE, STEPS, SAMPLES, BATCH = 8, 9, 900, 32
OTHERS = (2, 5, 8)
"""Pullovers, sandals and bags: every third class, chosen before anything was measured."""
PER_CLASS = {"pretrained": 3_000, "others": 1_000}
HELD_OUT_PER_CLASS = 300
WHOLE = 32_000
LENGTHS = {
    "pretrained": 64_000,
    "scratch": WHOLE,
    "scratch-quarter": WHOLE // 4,
    "tuned-quarter": WHOLE // 4,
    "tuned-sixteenth": WHOLE // 16,
}

WORDS = {"loss": "held-out loss", "frechet": "Frechet distance"}

NOTES = """# Fine-tuning against training from scratch

`python -m benchmarks.finetuning train SIDE SEED` for each side, then `measure` and `table`. A network of
{weights:.2f} million weights is trained on seven classes of Fashion-MNIST at 8 x 8 (3,000 pictures of each,
{before:,} training images); its weights, all but those of the labels' embedding, begin a training on the three other
classes (pullovers, sandals, bags; 1,000 pictures of each), which it has never seen. The same network, settings and
data from random weights are the other side. Every training has a learning rate that falls to 0 at its own end. The
loss is that of Karras et al. 2022, Eq. 2, with labels, at the paper's noise levels, on 900 test pictures of the three
classes; the Frechet distance is that of 20 principal components, 900 samples against these pictures. Errors are
standard errors over {seeds} seeds, each with a pretrained model of its own.

"""


def pictures(part: str, classes: tuple[int, ...], of_each: int) -> Dataset:
    """Pictures of some classes, 8 x 8; the classes are numbered anew."""
    whole = ed.data.open(f"fashion-mnist{part}")
    assert whole.classes is not None
    found = of_each_class(np.arange(len(whole)), whole.classes.numpy(), of_each)
    chosen = np.concatenate([places for number, places in found if number in classes])
    some = whole.select(chosen)
    assert some.classes is not None
    small = adaptive_avg_pool2d(some.images().float(), SIDE).round().byte()
    return Dataset.from_arrays(small, [classes.index(number) for number in some.classes.tolist()])


def config_of(side: str, seed: int) -> TrainingConfig:
    """The settings of a side: the same but for the length and the weights at the start."""
    tuned = side.startswith("tuned")
    return dataclasses.replace(
        preset("fashion-mnist"),
        data="",
        conditional=True,
        validation_images=0,
        memorisation_samples=0,
        start_from=str(RUNS / f"pretrained-{seed}" / "model") if tuned else "",
        network=MPUNetSettings(16, (1, 2), 1, (4,)),
        batch_size=BATCH,
        lr=2e-2,
        lr_gains=0.1,
        lr_ramp_images=1_600,
        lr_decay=Cosine(),
        learned_loss_weighting=True,
        duration_images=LENGTHS[side],
        max_minutes=None,
        log_images=1_600,
        checkpoint_images=16_000,
        keep_checkpoints=1,
        seed=seed,
        device="cpu",
        compile="off",
    )


def train_side(side: str, seed: int) -> None:
    """Train, or go on with a training."""
    if side == "pretrained":
        classes = tuple(number for number in range(10) if number not in OTHERS)
        seen = pictures("", classes, PER_CLASS["pretrained"])
    else:
        seen = pictures("", OTHERS, PER_CLASS["others"])
    run_dir = RUNS / f"{side}-{seed}"
    resume = any((run_dir / "checkpoints").glob("*"))
    train(config_of(side, seed), run_dir, dataset=seen, resume=resume)


def is_done(run_dir: Path) -> bool:
    """Whether a side has been trained to its end; there is a model before."""
    side, _, _ = run_dir.name.rpartition("-")
    seen = -(-LENGTHS[side] // BATCH) * BATCH
    last = run_dir / "checkpoints" / f"{seen:012d}.sha256"
    return side != "pretrained" and last.exists()


def measure(run_dir: Path) -> None:
    """Held-out loss and distance of a model, into its run folder."""
    side, _, seed = run_dir.name.rpartition("-")
    unseen = pictures(":test", OTHERS, HELD_OUT_PER_CLASS)
    model = ed.load(run_dir / "model").eval()
    low, high = range_for(model.sigma_data)
    sampler = Sampler(f"karras:n={STEPS},sigma_min={low},sigma_max={high}")
    drawn = Dataset.from_arrays(to_uint8(sampler.run(model, range(SAMPLES)).x).numpy())
    distance = evaluate(drawn, unseen.without_labels(), metrics=["fid"], extractor="pca-20")["fid"].value
    result = {
        "side": side,
        "seed": int(seed),
        "images": LENGTHS[side],
        "loss": held_out_loss(model, to_unit(unseen.images()), unseen.labels()),
        "frechet": distance,
        "weights": sum(weight.numel() for weight in model.network.parameters()),
    }
    write_whole(run_dir / "measured.json", json.dumps(result, indent=1) + "\n")
    print(result, flush=True)


def table() -> None:
    """Write what was measured so far."""
    found = [json.loads(path.read_text()) for path in sorted(RUNS.glob("*/measured.json"))]
    of = {side: {each["seed"]: each for each in found if each["side"] == side} for side in LENGTHS}
    rows = []
    for side in ("scratch", "scratch-quarter", "tuned-quarter", "tuned-sixteenth"):
        results = list(of[side].values())
        rows.append(
            {
                "start": "the other classes" if side.startswith("tuned") else "random weights",
                "images": f"{LENGTHS[side]:,}",
                "seeds": str(len(results)),
                "held-out loss": _mean([each["loss"] for each in results], 4),
                "Frechet distance": _mean([each["frechet"] for each in results], 3),
            }
        )
    notes = NOTES.format(
        weights=found[0]["weights"] / 1e6, before=LENGTHS["pretrained"], seeds=len(of["tuned-quarter"])
    )
    claims = [
        _claim(of, "tuned-quarter", "scratch", "Fine-tuning for a quarter of the images, against all of them anew"),
        _claim(of, "tuned-sixteenth", "scratch", "Fine-tuning for a sixteenth, against all of them anew"),
        _claim(of, "tuned-quarter", "scratch-quarter", "At equal images, a quarter"),
    ]
    reached = {name: _mean_of(of, "tuned-quarter", name) <= _mean_of(of, "scratch", name) for name in WORDS}
    said = " and ".join(f"by the {WORDS[name]} it does{'' if is_so else ' not'}" for name, is_so in reached.items())
    end = f"\nDoes fine-tuning reach in a quarter what training from scratch does: {said}.\n"
    text = notes + markdown(rows) + "\n" + "\n".join(claims) + "\n" + end
    write_results("fine-tuning", text, rows)
    print(text)


def _mean_of(of: dict[str, dict[int, dict[str, float]]], side: str, name: str) -> float:
    return statistics.mean(each[name] for each in of[side].values())


def _claim(of: dict[str, dict[int, dict[str, float]]], one: str, other: str, said: str) -> str:
    """The difference between two sides, paired by seed, with its 95% interval of Student's t."""
    seeds = sorted(of[one].keys() & of[other].keys())
    parts = []
    for name, digits in (("loss", 4), ("frechet", 2)):
        differences = [of[one][seed][name] - of[other][seed][name] for seed in seeds]
        mean, base = statistics.mean(differences), statistics.mean(of[other][seed][name] for seed in seeds)
        error = statistics.stdev(differences) / len(seeds) ** 0.5
        half = float(stats.t.ppf(0.975, len(seeds) - 1)) * error
        word = "significant" if abs(mean) > half else "not significant"
        parts.append(
            f"{WORDS[name]} {mean:+.{digits}f} [{mean - half:+.{digits}f}, {mean + half:+.{digits}f}] "
            f"({mean / base:+.0%}, {word})"
        )
    return f"* {said} (n = {len(seeds)} seeds, differences with their 95% interval): {'; '.join(parts)}."


def _mean(values: list[float], digits: int) -> str:
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values) / len(values) ** 0.5:.{digits}f}"


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "train":
        train_side(rest[0], int(rest[1]))
    elif verb == "measure":
        for folder in sorted(RUNS.glob("*-*")):
            if is_done(folder) and not (folder / "measured.json").exists():
                measure(folder)
    else:
        table()
