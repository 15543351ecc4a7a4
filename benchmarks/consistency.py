"""A model of digits tuned for few evaluations against what it was tuned from: quality, diversity, copies, time.

    elucidiff train digits --run-dir runs/digits
    elucidiff tune runs/digits/model --minutes 36 --batch-size 64 --lr 1e-3 --lr-ramp-images 6400 \\
        --ema-half-life-images 20000 --run-dir runs/digits-few
    python -m benchmarks.consistency optimise runs/digits/model          # its samplers nfe-5, nfe-8 and nfe-12
    python -m benchmarks.consistency measure runs/digits/model runs/digits-few/model   # can be interrupted
    python -m benchmarks.consistency time runs/digits/model runs/digits-few/model
    python -m benchmarks.consistency table                               # docs/results/few-evaluations.md, .csv, .png

Every block of seeds is measured for all sides before the next one, and kept in runs/few-evaluations/ as soon as it is
done, so what was interrupted goes on. Without TUNED, `measure` does the untuned sides alone.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.distance import cdist
from scipy.stats import t as student

import elucidiff as ed
from benchmarks.tables import RESULTS, write_table
from benchmarks.timing import interleaved, ratio
from elucidiff.data import to_unit
from elucidiff.demo.study import Evaluator
from elucidiff.denoisers.model_folder import checksum
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.evaluation.frechet import frechet_distance, moments
from elucidiff.files import write_whole
from elucidiff.sampling import Sampler, load_named, make_samplers
from elucidiff.training.batches import TrainingData
from elucidiff.training.config import TrainingConfig

FILE = Path("runs/few-evaluations/digits.json")
HELD_OUT, SIZE, BATCH, FIRST = 360, 180, 64, 6_000_000
BLOCKS = 20
REFERENCE = "heun, 35"
UNTUNED = {
    "ipndm:order=3, 5": Sampler(ed.steps.Karras(5), solver="ipndm:order=3"),
    "ipndm:order=3, 8": Sampler(ed.steps.Karras(8), solver="ipndm:order=3"),
    REFERENCE: Sampler(),
}
OPTIMISED = {"optimised, 5": "nfe-5", "optimised, 8": "nfe-8", "optimised, 12": "nfe-12"}
TUNED = {"tuned, 1": "one", "tuned, 2": "two", "tuned, 4": "four"}
NEIGHBOURS = 5

NOTES = """# One, two and four evaluations: a tuned model of digits against its original

`elucidiff tune` made the tuned model ({images_seen:,} images in {minutes:.0f} minutes of one core that it
shared with other work) from a model of 8x8 digits, which had been trained on 80,000 images in
{original_minutes:.0f} minutes. Each of {blocks} blocks has {size} samples, equal seeds on all sides, all
classes equally often. The Frechet distance is that between 20 principal components of the samples and of
{held_out} held-out digits, the bias of so few images included: {size} training digits have {real:.3f}. "Accuracy"
is the share of samples that a classifier takes for the class asked for ({classifier:.3f} of held-out digits).
"Recall" is the share of held-out digits that lie within the reach of a sample, "coverage" the share of those
within whose reach a sample lies (k = {neighbours}, in the components). "Nearest" is the mean distance of a
sample to the nearest training digit over that of held-out digits: far below 1 would be copies. Brackets are
95% intervals of means over blocks, "against Heun" those of paired differences.
{timing}

![Frechet distance against network evaluations](few-evaluations.png)

"""


@dataclass(frozen=True)
class Judge:
    """Measures of a block of samples.

    Attributes:
        evaluator: classifier and components, fitted to the training digits.
        held_out: components of the held-out digits.
    """

    evaluator: Evaluator
    held_out: npt.NDArray[np.float64]

    @classmethod
    def fit(cls) -> Judge:
        """From the digits."""
        data = TrainingData.open(TrainingConfig(data="digits", conditional=True, validation_images=HELD_OUT))
        assert data.held_out is not None
        seen, unseen = (
            (to_unit(part.images()).double().numpy(), np.asarray(part.classes))
            for part in (data.train, data.held_out)
        )
        evaluator = Evaluator.fit(*seen, *unseen)
        return cls(evaluator, evaluator.features.transform(evaluator.held_out))

    def frechet(self, rows: npt.NDArray[np.float64]) -> float:
        """The Frechet distance to the held-out digits."""
        return frechet_distance(*moments(self.evaluator.features.transform(rows)), *moments(self.held_out))

    def real(self, repeats: int = 40) -> float:
        """The same for as many training digits as there are samples in a block, on average over random ones."""
        generator, train = np.random.default_rng(0), self.evaluator.train
        chosen = (generator.choice(len(train), SIZE, replace=False) for _ in range(repeats))
        return float(np.mean([self.frechet(train[rows]) for rows in chosen]))

    def measure(self, images: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> dict[str, float]:
        """All measures of a block of images."""
        evaluator = self.evaluator
        rows = images.reshape(len(images), -1).clip(-1.0, 1.0)
        seen = evaluator.features.transform(rows)
        between = cdist(self.held_out, seen)
        reach, reach_held_out = (np.sort(cdist(each, each), axis=1)[:, NEIGHBOURS] for each in (seen, self.held_out))
        nearest = cdist(rows, evaluator.train).min(axis=1).mean()
        nearest_held_out = cdist(evaluator.held_out, evaluator.train).min(axis=1).mean()
        return {
            "frechet": self.frechet(rows),
            "accuracy": evaluator.accuracy(images, labels),
            "recall": float((between <= reach[None]).any(axis=1).mean()),
            "coverage": float((between.min(axis=1) <= reach_held_out).mean()),
            "nearest": float(nearest / nearest_held_out),
        }


def sides(original: Path, tuned: Path | None) -> dict[str, tuple[Denoiser, Sampler]]:
    """Every side's model and sampler, by name."""
    model = ed.load(original, "cpu")
    found = {name: (model, sampler) for name, sampler in UNTUNED.items()}
    found |= {name: (model, load_named(original, kept).sampler) for name, kept in OPTIMISED.items()}
    if tuned is not None:
        other = ed.load(tuned, "cpu")
        found |= {name: (other, load_named(tuned, kept).sampler) for name, kept in TUNED.items()}
    return found


def optimise(model: Path) -> None:
    """Make the samplers of the original for 5, 8 and 12 evaluations."""
    budgets = {name: int(name.removeprefix("nfe-")) for name in OPTIMISED.values()}
    missing = {name: nfe for name, nfe in budgets.items() if not (model / "samplers" / f"{name}.json").exists()}
    if missing:
        make_samplers(model, missing, device="cpu")


def measure(original: Path, tuned: Path | None, blocks: int) -> None:
    """Measure what is not measured yet, block by block."""
    judge = Judge.fit()
    found = _kept()
    about = {"original": checksum(original), **({} if tuned is None else {"tuned": checksum(tuned)})}
    for name, identity in about.items():
        if found.setdefault(name, identity) != identity:
            raise SystemExit(f"{FILE} is about another model ({name}): remove it to begin anew")
    for folder in filter(None, (original, tuned)):
        facts = ed.load(folder).facts["provenance"]
        found.setdefault("images_seen", {})["tuned" if folder == tuned else "original"] = facts["images_seen"]
        found.setdefault("seconds", {})["tuned" if folder == tuned else "original"] = _seconds(folder.parent)
    found["real"] = judge.real()
    found["classifier"] = judge.evaluator.classifier_accuracy
    labels = torch.arange(SIZE) % 10
    compared = sides(original, tuned)
    for block in range(blocks):
        seeds = range(FIRST + block * SIZE, FIRST + (block + 1) * SIZE)
        for name, (model, sampler) in compared.items():
            measured = found.setdefault("measured", {}).setdefault(name, {})
            if str(block) not in measured:
                result = sampler.run(model, seeds, labels, batch_size=BATCH)
                measured[str(block)] = judge.measure(result.x.numpy(), labels.numpy()) | {"nfe": int(result.nfe)}
                write_whole(FILE, json.dumps(found, indent=1) + "\n")
        print(f"block {block}", *(f"{name}: {_of(found, name, block):.3f}" for name in compared), flush=True)


def clock(original: Path, tuned: Path, images: int, rounds: int) -> None:
    """Time all sides in turn, on one thread: its processor time, so that other work does not count."""
    torch.set_num_threads(1)
    labels = torch.arange(images) % 10

    def drawing(model: Denoiser, sampler: Sampler) -> Callable[[], object]:
        return lambda: sampler.run(model, range(images), labels, batch_size=BATCH)

    compared = {name: drawing(*side) for name, side in sides(original, tuned).items()}
    found = _kept()
    found["times"] = interleaved(compared, rounds, time.process_time)
    found["timed"] = {"images": images, "rounds": rounds}
    write_whole(FILE, json.dumps(found, indent=1) + "\n")


def table() -> None:
    """Write what was measured as a page, a sheet and a figure."""
    found = _kept()
    measured: Mapping[str, Mapping[str, Mapping[str, float]]] = found["measured"]
    blocks = min(len(values) for values in measured.values())
    times, timed = found.get("times", {}), found.get("timed")
    timing = "The times were not measured."
    if timed is not None:
        timing = (
            f'"ms an image" is processor time, the median of {timed["rounds"]} rounds of {timed["images"]} images on '
            'one thread, all sides in turn; "times as fast" is against Heun, over rounds.'
        )
    rows = []
    for name, values in sorted(measured.items(), key=lambda item: (item[1]["0"]["nfe"], item[0])):
        row = {"sampler": name.rpartition(",")[0], "evaluations": f"{values['0']['nfe']:g}"}
        for key, digits in (("frechet", 3), ("accuracy", 3), ("recall", 3), ("coverage", 3), ("nearest", 2)):
            row[key] = _interval([values[str(k)][key] for k in range(blocks)], digits)
            if key == "frechet":
                paired = [values[str(k)][key] - measured[REFERENCE][str(k)][key] for k in range(blocks)]
                row["against Heun"] = "" if name == REFERENCE else _interval(paired, 3, sign="+")
        if times and timed is not None:
            row["ms an image"] = f"{1000 * float(np.median(times[name])) / timed['images']:.2f}"
            row["times as fast"] = "" if name == REFERENCE else ratio(times[REFERENCE], times[name])
        rows.append(row)
    facts = {
        "blocks": blocks,
        "size": SIZE,
        "held_out": HELD_OUT,
        "neighbours": NEIGHBOURS,
        "real": found["real"],
        "classifier": found["classifier"],
        "images_seen": found["images_seen"].get("tuned", 0),
        "minutes": found["seconds"].get("tuned", 0) / 60,
        "original_minutes": found["seconds"]["original"] / 60,
        "timing": timing,
    }
    print(write_table("few-evaluations", NOTES.format(**facts), rows))
    _draw(measured, blocks)


def _draw(measured: Mapping[str, Mapping[str, Mapping[str, float]]], blocks: int) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    kinds = {"tuned": "o-", "optimised": "s--", "ipndm:order=3": "^:", "heun": "D"}
    for kind, style in kinds.items():
        of_kind = sorted(
            (int(values["0"]["nfe"]), [values[str(k)]["frechet"] for k in range(blocks)])
            for name, values in measured.items()
            if name.rpartition(",")[0] == kind
        )
        if of_kind:
            means, errors = zip(*(_mean_and_half(values) for _, values in of_kind), strict=True)
            axes.errorbar([nfe for nfe, _ in of_kind], means, errors, fmt=style, capsize=3, label=kind)
    axes.set(xlabel="network evaluations", ylabel="Frechet distance, 20 components", xscale="log")
    axes.set_xticks([1, 2, 4, 8, 12, 35], ["1", "2", "4", "8", "12", "35"])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(RESULTS / "few-evaluations.png", dpi=120)
    plt.close(figure)


def _interval(values: list[float], digits: int, sign: str = "") -> str:
    mean, half = _mean_and_half(values)
    return f"{mean:{sign}.{digits}f} ({mean - half:{sign}.{digits}f} to {mean + half:{sign}.{digits}f})"


def _mean_and_half(values: list[float]) -> tuple[float, float]:
    """The mean, and half of its 95% interval."""
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return float(np.mean(values)), float(half)


def _kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found


def _of(found: dict[str, Any], name: str, block: int) -> float:
    return float(found["measured"][name][str(block)]["frechet"])


def _seconds(run: Path) -> float:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float(max(line.get("seconds", 0.0) for line in lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    for name in ("optimise", "measure", "time"):
        part = what.add_parser(name)
        part.add_argument("original", type=Path)
        if name != "optimise":
            part.add_argument("tuned", type=Path, nargs="?" if name == "measure" else None)
    what.choices["measure"].add_argument("--blocks", type=int, default=BLOCKS)
    what.choices["time"].add_argument("--images", type=int, default=128)
    what.choices["time"].add_argument("--rounds", type=int, default=7)
    what.add_parser("table")
    options = parser.parse_args()
    if options.what == "optimise":
        optimise(options.original)
    elif options.what == "measure":
        torch.set_num_threads(1)
        measure(options.original, options.tuned, options.blocks)
    elif options.what == "time":
        clock(options.original, options.tuned, options.images, options.rounds)
    else:
        table()


if __name__ == "__main__":
    main()
