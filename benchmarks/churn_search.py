"""Forty trials of `elucidiff search` against a coarse version of the paper's grid of churn, on a model of digits.

    python -m benchmarks.churn_search

Trains a small model for half a minute the first time. Each trial is kept in runs/churn-search/ once it is done, so
what was interrupted goes on with the same command. Writes docs/results/churn-search.md, and all trials as
docs/results/churn-search.csv.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

import elucidiff as ed
from benchmarks.tables import RESULTS, markdown, write_results
from elucidiff.denoisers.backends import with_backend
from elucidiff.denoisers.model_folder import checksum
from elucidiff.evaluation.quality import Evaluator, OfModel, open_reference, principal_components
from elucidiff.evaluation.quality.metrics import standard_error
from elucidiff.evaluation.results import Row
from elucidiff.evaluation.search import (
    CHURN,
    Objective,
    OfSamples,
    Search,
    Space,
    Values,
    best_samplers,
    measure_afresh,
    open_storage,
    parse_options,
    rows,
    rungs,
    work,
)
from elucidiff.evaluation.search.report import SYMBOLS, Measured
from elucidiff.evaluation.search.running import IMAGES, NFE, Worked
from elucidiff.figures import churn_heat_map
from elucidiff.figures.style import save
from elucidiff.sampling import Sampler
from elucidiff.sampling.seeds import SeedRanges
from elucidiff.training import train
from elucidiff.training.presets import DIGITS

RUNS = Path("runs/churn-search")
BASE = Sampler()
IMAGES_A_TRIAL, BATCH, BLOCKS = 360, 120, 6
SEEDS = SeedRanges([range(1_000_000, 1_000_000 + IMAGES_A_TRIAL)])
FRESH = [
    SeedRanges([range(start, start + IMAGES_A_TRIAL)]) for start in range(2_000_000, 2_000_000 + BLOCKS * 1000, 1000)
]

# Karras et al. 2022, App. E.2, searched with N = 256 steps. What acts is gamma = S_churn / N, so for fewer steps
# S_churn is smaller in proportion. Beyond sqrt(2) - 1, which is S_churn = 106 there, gamma is clipped.
PAPER_STEPS = 256
GRID = {
    "churn.amount": Values(tuple(round(churn * BASE.n / PAPER_STEPS, 3) for churn in (10, 20, 40, 60, 80))),
    "churn.sigma_min": Values((0.0, 0.01, 0.05, 0.5)),
    "churn.sigma_max": Values((1.0, 5.0, 20.0, 50.0, 80.0)),
    "churn.noise_scale": Values((1.0, 1.007)),
}

NOTES = """# Search against grid: churn for a model of digits

`python -m benchmarks.churn_search`. Heun's method with {n} karras steps ({nfe} evaluations). The model has
{weights:,} weights and was trained on {seen:,} images, which is brief: a better one leaves churn little to gain.
Values are Frechet distances of 20 principal components between {images} images, with a class in turn, and all
{count:,} digits.

The grid has {points} of the paper's points (App. E.2): S_churn 10, 20, 40, 60, 80 of 256 steps, that is
{churns} of {n}; S_tmin 0, 0.01, 0.05, 0.5; S_tmax 1, 5, 20, 50, 80; S_noise 1, 1.007. The
search is `elucidiff search` as it is: TPE over the usual ranges, trials looked at after {looks} images. Both see the
same {images} seeds. Then the best of each, and the sampler without churn, are measured on {blocks} other blocks of
{images} seeds, the same for all: mean and standard error over the blocks. What was chosen for being the best on some
seeds is better there than elsewhere, the more so the more it was chosen from.

Cost is in millions of network evaluations of one image; minutes are those on one thread, of a machine that may have
been busy.

"""


CAPTION = """
![Heat maps of the grid](churn-search.png)

All points of the grid, two settings at a time, the others at their best.
"""


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40, help="of the search")
    parser.add_argument(
        "--points", type=int, default=200, help="of the grid; fewer for a first look, without results"
    )
    options = parser.parse_args()

    model, seen = trained()
    denoiser = with_backend(ed.load(model).eval(), "onnx", batch_sizes=[BATCH])
    digits = ed.data.open("digits")
    extractor = principal_components(digits, 20)
    evaluator = Evaluator(extractor, open_reference(digits, extractor), ("fid",))
    images = OfModel(denoiser, BASE, SEEDS, labels=torch.arange(10), batch_size=BATCH)
    objective = OfSamples(images, extractor, lambda features: evaluator.values(features)["fid"])
    facts = {"model": checksum(model), "reference": evaluator.reference.id, "extractor": extractor.id}
    ours = Search(
        Space(BASE, parse_options(CHURN, BASE, grid=False)),
        SEEDS,
        rungs(IMAGES_A_TRIAL, 100),
        options.trials,
        facts=facts,
    )
    grid = Search(Space(BASE, GRID), SEEDS, (IMAGES_A_TRIAL,), options.points, "grid", facts=facts)
    searches = {"search": ours, "grid": grid}
    done = {name: carry_out(name, search, objective) for name, search in searches.items()}
    if options.points < 200:
        print("no results were written: the grid is not complete")
        return

    before = measure_afresh(objective, BASE, FRESH)
    table = [
        {"": "no churn", **dict.fromkeys(("trials", "cost", "minutes", "best", "same seeds"), ""), **fresh(before)}
    ]
    table[0]["same seeds"] = f"{objective(BASE, SEEDS).value:.4f}"
    measured: dict[str, Measured] = {}
    for name, search in searches.items():
        (trial, sampler), *_ = best_samplers(done[name].study, search, done[name].trials)
        measured[name] = measure_afresh(objective, sampler, FRESH)
        table.append(
            {
                "": {"search": "search, 40 trials", "grid": "grid, 200 points"}[name],
                **cost(done[name]),
                "best": ", ".join(f"{SYMBOLS[key]} {value:.4g}" for key, value in trial.params.items()),
                "same seeds": f"{trial.values[0]:.4f}",
                **fresh(measured[name]),
            }
        )
    notes = NOTES.format(
        n=BASE.n,
        nfe=round(before.nfe),
        weights=sum(weights.numel() for weights in ed.load(model).parameters()),
        seen=seen,
        count=len(digits),
        images=IMAGES_A_TRIAL,
        points=done["grid"].trials,
        churns=", ".join(f"{value:g}" for value in GRID["churn.amount"].values),
        looks=" and ".join(map(str, ours.rungs[:-1])),
        blocks=BLOCKS,
    )
    sheet = [
        {"by": name, **{key: f"{value}" for key, value in row.items()}}
        for name, search in searches.items()
        for row in rows(done[name].study, search, done[name].trials)
    ]
    save(churn_heat_map.draw(grid_rows(done["grid"], extractor.id)), RESULTS / "churn-search", ["png"])
    text = notes + markdown(table) + verdict(measured, before) + CAPTION
    write_results("churn-search", text, sheet)
    print(text)


def trained() -> tuple[Path, int]:
    """The model's folder, and how many images it has seen."""
    config = dataclasses.replace(
        DIGITS.config,
        network=dataclasses.replace(DIGITS.config.network, base_channels=16),
        duration_images=30_000,
        checkpoint_images=10_000,
        ema_half_life_images=8_000,
        device="cpu",
    )
    done = train(config, RUNS / "run", resume=(RUNS / "run").exists())
    if done.interrupted:
        sys.exit("the training was interrupted: the same command goes on")
    return RUNS / "run" / "model", done.images_seen


def carry_out(name: str, search: Search, objective: Objective) -> Worked:
    """All trials of a search, those of earlier sessions included."""

    def tell(trial: Any, finished: int) -> None:
        print(f"{name}: trial {trial.number}, {trial.values[0]:.4f} of {trial.user_attrs[IMAGES]} images", flush=True)

    return work(search, open_storage(str(RUNS / "study.journal")), name, objective, tell=tell)


def grid_rows(done: Worked, extractor: str) -> list[Row]:
    """The points of the grid as a table of results, for its figure."""
    return [
        Row(
            "search",
            f"trial {trial.number}",
            budget=round(trial.user_attrs[NFE]),
            images=trial.user_attrs[IMAGES],
            seed=0,
            metric="fid",
            value=trial.values[0],
            extractor=extractor,
            **trial.params,
        )
        for trial in done.study.get_trials(deepcopy=False)[: done.trials]
    ]


def cost(done: Worked) -> dict[str, str]:
    """What the trials took."""
    trials = done.study.get_trials(deepcopy=False)[: done.trials]
    evaluations = sum(trial.user_attrs[IMAGES] * trial.user_attrs[NFE] for trial in trials)
    minutes = sum((trial.duration or timedelta() for trial in trials), timedelta()).total_seconds() / 60
    return {"trials": str(len(trials)), "cost": f"{evaluations / 1e6:.2f}", "minutes": f"{minutes:.1f}"}


def fresh(measured: Measured) -> dict[str, str]:
    """Mean and standard error."""
    return {"fresh seeds": f"{measured.mean:.4f} ± {measured.error:.4f}"}


def verdict(measured: dict[str, Measured], before: Measured) -> str:
    """Differences, block by block, so that what all samplers have in common with a block does not count."""
    pairs = {
        "search - grid": (measured["search"], measured["grid"]),
        "search - no churn": (measured["search"], before),
        "grid - no churn": (measured["grid"], before),
    }
    found = {}
    for name, (one, other) in pairs.items():
        differences = np.subtract(one.values, other.values).tolist()
        found[name] = f"{np.mean(differences):+.4f} ± {standard_error(differences):.4f}"
    lines = "; ".join(f"{name}: {value}" for name, value in found.items())
    return f"\nDifferences on the same blocks: {lines}.\n"


if __name__ == "__main__":
    main()
