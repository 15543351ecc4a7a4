"""Which orderings of Karras et al. 2022 hold: on an exact denoiser, on digits, and on Fashion-MNIST.

    python -m benchmarks.orderings measure [STUDY ...]   # what is missing of them, into runs/orderings/STUDY
    python -m benchmarks.orderings page                  # docs/results/orderings.md, and docs/results/orderings/

Each study is one command of `elucidiff`, listed on the page, and goes on where it was interrupted. The models that
are studied are trained first.
"""

from __future__ import annotations

import argparse
import io
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_sample_images

from benchmarks.tables import RESULTS, markdown
from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.evaluation.ablation.cells import LOSS, TRUNCATION
from elucidiff.evaluation.ablation.tables import Estimate, paired
from elucidiff.evaluation.results import Row, read_results
from elucidiff.figures import ablation_bars, quality_against_nfe
from elucidiff.figures.style import save
from elucidiff.files import write_whole
from elucidiff.sampling import Sampler
from elucidiff.sampling.seeds import begin

RUNS, PAGES = Path("runs/orderings"), RESULTS / "orderings"

# What is sampled with many samplers, and what is trained on in many ways.
SAMPLED = {"ideal": "exact denoiser of digits", "digits": "digits", "fashion-mnist": "Fashion-MNIST"}
TRAINED = {"digits": "digits", "fashion-mnist": "Fashion-MNIST", "photographs": "patches of photographs"}
SUBJECTS = SAMPLED | TRAINED
MODELS = {"digits": Path("runs/digits"), "fashion-mnist": Path("runs/fashion-mnist-16")}
TRAININGS = {
    "digits": ("train", "digits"),
    "fashion-mnist": ("train", "fashion-mnist", "--network.base-channels", "16", "--duration-images", "57600",
                      "--max-minutes", "None"),
}  # fmt: skip

# A network costs far more than the exact denoiser of 1,797 small images.
IMAGES = {"ideal": (), "digits": ("--images", "128"), "fashion-mnist": ("--images", "64", "--batch-size", "32")}
EXACT = {"ideal": (), "digits": ("--exact-images", "64"), "fashion-mnist": ("--exact-images", "32")}
BLOCKS = {"ideal": "8", "digits": "4", "fashion-mnist": "3"}
AMOUNTS = {"ideal": (0, 2, 6, 20), "digits": (0, 2, 6, 20), "fashion-mnist": (0, 6, 20)}
BUDGETS = {"ideal": "11,35,79,159", "digits": "11,35,79,159", "fashion-mnist": "11,35,79"}
RHOS = {"ideal": (1, 3, 5, 7, 10, 20), "digits": (1, 3, 5, 7, 10, 20), "fashion-mnist": (1, 3, 7, 10)}
# Heun's method is 1, and the paper's search found 1.1. What matters is a twentieth of an error: 4 blocks of the
# network tell far less. The exact denoiser's error is that of the few samples that end on another image, and 8 blocks
# of 64 exact solutions told too little of it.
ALPHAS = ("--alphas", "0.5,0.6,0.7,0.8,0.9,1,1.1,1.2,1.3", "--nfe", "11,35")
ALPHA_BLOCKS = {
    "ideal": ("--seeds", "16", "--exact-images", "128"),
    "digits": ("--seeds", "4", "--images", "128", "--exact-images", "64"),
}
# Karras et al. 2022, Table 5, ImageNet.
RANGE = "sigma_min=0.05,sigma_max=50,noise_scale=1.003"
PHOTOGRAPHS, PATCH = RUNS / "photographs.npz", 8
BRIEF = {
    "digits": ("digits", "--training-images", "30000", "--images", "500"),
    "fashion-mnist": ("fashion-mnist", "--training-images", "19200", "--images", "256"),
}
BRIEF["photographs"] = (*BRIEF["digits"], "--data", f"{PHOTOGRAPHS}", "--seeds", "5")


def studies() -> dict[str, tuple[str, ...]]:
    """The words after `elucidiff` of each study, by its name."""
    found: dict[str, tuple[str, ...]] = {}
    for subject in SAMPLED:
        ideal = subject == "ideal"
        model = ("ideal", "--data", "digits") if ideal else (f"{MODELS[subject] / 'model'}", "--backend", "onnx")
        images, exact = IMAGES[subject], EXACT[subject]
        seeds, blocks = ("--seeds", BLOCKS[subject]), ("--blocks", BLOCKS[subject])
        found[f"sampling-{subject}"] = ("ablate", "sampling", *model, *images, *seeds, *exact)
        found[f"churn-{subject}"] = (
            "ablate", "churn", *model, "--churn", "6,sigma_min=0.05,sigma_max=1,noise_scale=1.007", "--nfe", "79",
            "--exact-images", "0", *images, *seeds,
        )  # fmt: skip
        curve = ("curve", *(("ideal", "digits") if ideal else model))
        rhos = (f"karras:rho={rho}" for rho in RHOS[subject])
        found[f"rho-{subject}"] = (*curve, "--steps", *rhos, "--nfe", "11,35", *images, *blocks, *exact)
        amounts = (f"{amount},{RANGE}" if amount else "0" for amount in AMOUNTS[subject])
        found[f"churn-curve-{subject}"] = (
            *curve, "--churn", *amounts, "--nfe", BUDGETS[subject], "--metrics", "fid", *images,
            *blocks,
        )  # fmt: skip
        if subject != "fashion-mnist":
            found[f"alpha-{subject}"] = ("ablate", "alpha", *model, *ALPHAS, *ALPHA_BLOCKS[subject])
    for subject in TRAINED:
        if subject != "photographs":
            found[f"training-{subject}"] = ("ablate", "training", *BRIEF[subject])
        found[f"augment-{subject}"] = (
            "ablate", "augment", *BRIEF[subject], "--only", "none,paper,corruption,paper-corruption",
        )  # fmt: skip
    return found


@dataclass(frozen=True)
class Ordering:
    """Something that the paper finds better than something else.

    Attributes:
        claim: in a few words.
        study: the first part of the names of the studies that can tell.
        better, worse: configurations, by name.
        metrics: those in which it should show.
    """

    claim: str
    study: str
    better: str
    worse: str
    metrics: Sequence[str] = (TRUNCATION, "fid")


OF_SAMPLERS = (
    Ordering("Heun's method over Euler's, at equal evaluations", "sampling", "edm", "edm-euler"),
    Ordering("sigma = t, s = 1 over VP's schedule, with Heun", "sampling", "edm", "vp-heun"),
    Ordering("sigma = t, s = 1 over VE's schedule, with Heun", "sampling", "edm", "ve-heun"),
    Ordering("the paper's sampler over Song et al.'s VP", "sampling", "edm", "vp"),
    Ordering("the paper's sampler over Song et al.'s VE", "sampling", "edm", "ve"),
    Ordering("the paper's sampler over DDIM", "sampling", "edm", "ddim"),
    Ordering("the paper's ODE sampler over Song et al.'s VP SDE", "churn", "deterministic", "vp-sde", ("fid",)),
    Ordering(
        "the paper's ODE sampler over their VE predictor-corrector", "churn", "deterministic", "ve-pc", ("fid",)
    ),
    Ordering("S_churn, S_tmin, S_tmax, S_noise over no churn", "churn", "all", "deterministic", ("fid",)),
    Ordering("S_tmin and S_tmax over churn everywhere", "churn", "churn-range", "churn", ("fid",)),
    Ordering("S_noise over 1, with churn everywhere", "churn", "churn-noise", "churn", ("fid",)),
    Ordering("Heun's method over the midpoint method", "alpha", "alpha-1", "alpha-0.5"),
    Ordering("alpha = 1.1 over Heun's method", "alpha", "alpha-1.1", "alpha-1"),
)
OF_TRAININGS = (
    Ordering("B over A: hyper-parameters", "training", "b", "a", (LOSS, "fid")),
    Ordering("C over B: redistributed capacity", "training", "c", "b", (LOSS, "fid")),
    Ordering("D over C: EDM preconditioning", "training", "d", "c", (LOSS, "fid")),
    Ordering("E over D: EDM loss", "training", "e", "d", (LOSS, "fid")),
    Ordering("F over E: augmentation", "training", "f", "e", (LOSS, "fid")),
    Ordering("E over C: EDM preconditioning and loss", "training", "e", "c", (LOSS, "fid")),
    Ordering("the paper's augmentation over none", "augment", "paper", "none", (LOSS, "fid")),
    Ordering("no augmentation over colour corruption", "augment", "none", "corruption", (LOSS, "fid")),
    Ordering(
        "the paper's set over the same and colour corruption", "augment", "paper", "paper-corruption", (LOSS, "fid")
    ),
)
ORDERINGS = (*OF_SAMPLERS, *OF_TRAININGS)

NOTES = """# Which of the paper's orderings hold

    python -m benchmarks.orderings measure
    python -m benchmarks.orderings page

Karras et al. 2022 found their orderings on CIFAR-10, FFHQ, AFHQv2 and ImageNet, with networks that were trained for
days. Here they are put to the test where everyone can repeat it: with the exact denoiser of scikit-learn's 8x8
digits (the posterior mean over all 1,797, no network), a network trained on these for minutes, and one trained on
28x28 garments for a quarter of an hour. What concerns training is repeated with brief trainings on digits and on
garments, and, since these have no colours to corrupt, on 8,480 RGB patches of 8x8, cut out of the two photographs
that come with scikit-learn. On 2 CPU cores; commands of every study are at the end.

✓ holds, ✗ is reversed: significant by a paired t-test over blocks of seeds, two-sided, 5%; ≈ is not significant.
Numbers before marks are network evaluations. Of so many tests one in twenty errs. Colour corruption of grey images
is what it leaves of itself on them: changes of brightness and contrast, and inversion.

{summary}
## Where they do not hold, and why

{reasons}
Errors on normal data of some standard deviation: Heun's along sigma = t / Heun's along VP's schedule / the midpoint
method's along sigma = t:

{gaussians}
## In numbers

What the paper finds better minus the other, at equal seeds, with its standard error, and the ratio of the means.
Lower is better in all metrics. Frechet distances are of 20 principal components and few images: they
compare samplers, and say nothing of other papers' numbers. Truncation errors are root mean square distances to the
exact solution of the same ODE between the sampler's own highest and lowest noise level.

### Deterministic sampling (Table 3)

{solvers}
### Where the second evaluation lies (App. D.2)

{alphas}
### rho (Fig. 13)

The best of those that were tried, and what 7 loses to it; ≈ is not significant.

{rhos}
### Churn against evaluations (Fig. 4)

The best of the amounts S_churn that were tried (S_tmin 0.05, S_tmax 50, S_noise 1.003) minus none, Frechet distances:
✓ churn is better, ✗ none is. Being the best of those tried flatters it a little.

{churns}
### The settings of churn (Tables 4 and 5)

{settings}
### Training (Table 2)

{trainings}
### Augmentation (Table 6)

{augmentations}
## The studies

Models: `{digits}`; `{garments}`. Each page has all means with standard errors, each .csv every measurement.

{studies}"""

REASONS = """
- **Heun at 11 evaluations** errs more than Euler on both networks: it takes 6 steps, each twice as long, and a second
  order pays only once steps are short. From 35 on it errs half as much or less.
- **VP's schedule with Heun** errs less than sigma = t on the digits' network, and more on the garments'. The likely
  reason: for normal data the solutions are known, and scaled as by VP they hardly bend near a standard deviation of 1
  (below). Digits have 0.75, and smoothed by a network 64 pixels are nearer to normal data than 784 are. The exact
  denoiser, whose data are single points, errs less along sigma = t at 11 evaluations.
- **DDIM and VP at 11 evaluations** are better than Heun's method, or not worse, for the first reason: they are
  Euler's, with 11 steps.
- **The midpoint method** beats Heun's on digits. The likely reason is the second one: on normal data it does, by far
  (below). The exact denoiser knows no difference.
- **alpha = 1.1**, the paper's best, errs 1.3 to 3.5 times as much as Heun's method on the network, and 1.1 to 2.4
  times with the exact denoiser. The best here lies between 0.6 and 0.9 for both. Beyond 1 the second evaluation of
  the last steps lies past noise level 0, and with 6 steps that ruins the samples.
- **Frechet distances of 35 evaluations and more** separate few samplers but VE's: all are so close to the solution
  of the ODE that what remains is the network's, the same for all. The means on garments are in the paper's order.
- **Exact denoiser**: its samples are images of the data set however they are reached, once there are enough steps. A
  sample either ends on the image that it should or on another, so its errors are few and large.
- **Churn at many evaluations** gains 5 to 11% in the means of both networks, as the paper says of imperfect ones, but
  that is not significant with blocks this small, nor with larger ones of a brief network, by which a search gains
  5% on fresh seeds ([search against grid](churn-search.md)). With the exact denoiser nothing is to be gained, and
  nothing significant is. At 11 evaluations churn harms on digits; elsewhere the difference is not significant.
- **B over A**: A's batch is a quarter of B's, so it makes four times as many updates from equally many images. After
  20,000 to 30,000 images that counts for more than steadier ones; the paper trained on 200 million.
- **C over B and D over C** are in the paper's order in all means, but not all are significant with three
  trainings. EDM preconditioning divides the Frechet distance of garments by seven, and that of digits by 1.06 only.
- **Colour corruption** costs held-out loss in all means: 4 to 5% alone, significant on garments and on patches,
  and 5 to 7% on top of the paper's set, significant on digits and garments. Frechet distances are worse by 8%,
  36% and 2% alone, none of them significantly. On top of the paper's set they are worse on digits and
  garments, and better on patches, where trainings differ far more than recipes do. So for images with colours only
  the loss speaks for the paper's order, and the distance between samples and data says nothing. After three trainings
  each on patches, too few for distances, six were begun, and the last was given up for lack of time.
- **F over E**: augmentation keeps long trainings from overfitting. In these, an image of the digits is seen 20 times,
  one of the patches 4 times, and one of the garments not even once, and the network is to learn all its turns and
  sizes as well. Five minutes of garments say the same: [time to quality](time-to-quality.md).
"""

TITLES = {TRUNCATION: "truncation error", "fid": "Frechet distance", LOSS: "held-out loss"}


MARKS = {"holds": "✓", "not significant": "≈", "reversed": "✗"}


def verdict(difference: Estimate) -> str:
    """What a difference, better minus worse, says of an ordering: a key of :data:`MARKS`."""
    if difference.may_be_zero() or difference.mean == 0:
        return "not significant"
    return "holds" if difference.mean < 0 else "reversed"


def values(rows: Iterable[Row], metric: str, budget: int | None, keep: Callable[[Row], bool]) -> dict[int, float]:
    """Values by seed."""
    return {
        row.seed: row.value
        for row in rows
        if row.metric == metric and row.budget == budget and row.seed is not None and keep(row)
    }


def budgets_of(rows: Iterable[Row]) -> list[int]:
    """The budgets of some rows, in order."""
    return sorted({row.budget for row in rows if row.budget is not None})


def ratio(better: dict[int, float], worse: dict[int, float]) -> str:
    """Of the means."""
    found = Estimate.of(list(better.values())).mean / Estimate.of(list(worse.values())).mean
    return f"{found:.2f}" if found >= 0.005 else "0.00"


def cell(better: dict[int, float], worse: dict[int, float]) -> str:
    """A verdict with what it rests on; a dash where nothing was measured."""
    difference = paired(better, worse)
    if difference is None:
        return "–"
    return f"{MARKS[verdict(difference)]} {difference.text(sign=True)} ({ratio(better, worse)})"


def sides(rows: list[Row], ordering: Ordering, metric: str, budget: int) -> tuple[dict[int, float], dict[int, float]]:
    """Values by seed of what the paper finds better, and of the other."""
    one, other = (
        values(rows, metric, budget, lambda row, name=name: row.configuration == name)
        for name in (ordering.better, ordering.worse)
    )
    return one, other


def summary(found: dict[str, list[Row]]) -> str:
    """A line for each ordering, a column for each subject, and in it a mark for each budget and metric.

    Orderings of samplers and those of trainings are two tables, for not all subjects are in both.
    """
    samplers = [*_lines(found, OF_SAMPLERS, SAMPLED), *_curve_lines(found)]
    return f"{sheet(samplers)}\n{sheet(_lines(found, OF_TRAININGS, TRAINED))}"


def _lines(
    found: dict[str, list[Row]], orderings: Sequence[Ordering], subjects: dict[str, str]
) -> list[dict[str, str]]:
    lines = []
    for each in orderings:
        line = {"ordering": each.claim}
        for subject, name in subjects.items():
            rows = found.get(f"{each.study}-{subject}", [])
            marks = {metric: _marks(rows, each, metric) for metric in each.metrics}
            line[name] = "; ".join(f"{TITLES[metric]} {text}" for metric, text in marks.items() if text) or "–"
        lines.append(line)
    return lines


def _curve_lines(found: dict[str, list[Row]]) -> list[dict[str, str]]:
    """The same for what was measured as curves."""
    seven = {"ordering": "rho = 7: no other of those tried is significantly better"}
    churn = {"ordering": "the best churn of those tried over none: the paper says ✗ at few and ✓ at many evaluations"}
    for subject, name in SAMPLED.items():
        rows = found.get(f"rho-{subject}", [])
        marks = {
            metric: " ".join(
                f"{budget} {'✓' if best == 7 or _may_be_equal(row, its) else '✗'}"
                for budget in budgets_of(rows)
                for best, its, row in [rho_of(rows, metric, budget)]
            )
            for metric in (TRUNCATION, "fid")
        }
        seven[name] = "; ".join(f"{TITLES[metric]} {text}" for metric, text in marks.items() if text) or "–"
        rows = found.get(f"churn-curve-{subject}", [])
        told = [f"{budget} {MARKS[verdict(difference)]}" for budget, difference in churn_of(rows)]
        churn[name] = f"Frechet distance {' '.join(told)}" if told else "–"
    return [seven, churn]


def _may_be_equal(values: dict[int, float], others: dict[int, float]) -> bool:
    difference = paired(values, others)
    return difference is not None and difference.may_be_zero()


def _marks(rows: list[Row], ordering: Ordering, metric: str) -> str:
    differences = {budget: paired(*sides(rows, ordering, metric, budget)) for budget in budgets_of(rows)}
    marks = {budget: MARKS[verdict(each)] for budget, each in differences.items() if each is not None}
    return " ".join(f"{budget} {mark}" if len(marks) > 1 else mark for budget, mark in marks.items())


def table_of(found: dict[str, list[Row]], orderings: Sequence[Ordering]) -> str:
    """A line for each ordering, subject and metric; a column for each budget."""
    lines = []
    for each in orderings:
        for subject, name in SUBJECTS.items():
            rows = found.get(f"{each.study}-{subject}", [])
            for metric in each.metrics if rows else ():
                line = {"ordering": each.claim, "data": name, "metric": TITLES[metric]}
                for budget in budgets_of(rows):
                    line[f"{budget} evaluations"] = cell(*sides(rows, each, metric, budget))
                lines.append(line)
    return sheet(lines)


def best_of(
    rows: list[Row], metric: str, budget: int, choices: Sequence[float], of: Callable[[Row], float | None]
) -> tuple[float, dict[int, float]]:
    """The choice with the best mean, and its values by seed."""
    tried = {choice: values(rows, metric, budget, lambda row, one=choice: of(row) == one) for choice in choices}
    best = min(tried, key=lambda choice: Estimate.of(list(tried[choice].values())).mean)
    return best, tried[best]


def rho_of(rows: list[Row], metric: str, budget: int) -> tuple[float, dict[int, float], dict[int, float]]:
    """The best rho, its values by seed, and those of 7."""
    choices = sorted({row.rho for row in rows if row.rho is not None})
    best, its = best_of(rows, metric, budget, choices, lambda row: row.rho)
    return best, its, values(rows, metric, budget, lambda row: row.rho == 7)


def rho_table(found: dict[str, list[Row]]) -> str:
    """For each subject, metric and budget the best rho, and how far 7 is from it."""
    lines = []
    for subject, name in SUBJECTS.items():
        rows = found.get(f"rho-{subject}", [])
        for metric in (TRUNCATION, "fid"):
            line = {"data": name, "metric": TITLES[metric]}
            for budget in budgets_of(rows):
                best, its, seven = rho_of(rows, metric, budget)
                line[f"best, {budget} evaluations"] = f"{best:g}"
                line[f"7 minus best, {budget}"] = "0" if best == 7 else distance(seven, its)
            if rows:
                lines.append(line)
    return sheet(lines)


def churn_sides(rows: list[Row], budget: int) -> tuple[float, dict[int, float], dict[int, float]]:
    """The best amount of churn that was tried, its Frechet distances by seed, and those without churn."""
    amounts = sorted({row.churn for row in rows if row.churn})
    best, its = best_of(rows, "fid", budget, amounts, lambda row: row.churn)
    return best, its, values(rows, "fid", budget, lambda row: row.churn == 0)


def churn_of(rows: list[Row]) -> list[tuple[int, Estimate]]:
    """What the best amount of churn adds to the Frechet distance, by budget."""
    found = []
    for budget in budgets_of(rows):
        _, its, none = churn_sides(rows, budget)
        difference = paired(its, none)
        if difference is not None:
            found.append((budget, difference))
    return found


def churn_table(found: dict[str, list[Row]]) -> str:
    """For each subject and budget the best amount of churn that was tried, and what it gains over none."""
    lines = []
    for subject, name in SUBJECTS.items():
        rows = found.get(f"churn-curve-{subject}", [])
        line = {"data": name}
        for budget in budgets_of(rows):
            best, its, none = churn_sides(rows, budget)
            line[f"{budget} evaluations"] = f"{cell(its, none)} at {best:g}"
        if rows:
            lines.append(line)
    return sheet(lines)


def distance(values: dict[int, float], best: dict[int, float]) -> str:
    """What a choice loses to the best one, and ≈ if that may be nothing."""
    difference = paired(values, best)
    assert difference is not None
    return f"{difference.text(sign=True)} ({ratio(values, best)}){' ≈' if difference.may_be_zero() else ''}"


def gaussians(stds: Sequence[float] = (0.3, 0.5, 0.75, 1.0, 1.5), steps: Sequence[int] = (6, 18, 40)) -> str:
    """Truncation errors on normal data, whose ODE solutions are known: Heun along two schedules, and the midpoint."""
    lines = []
    for std in stds:
        denoiser = GaussianMixture(torch.zeros(1, 4), std**2 * torch.eye(4)[None], torch.ones(1))
        latents = begin(denoiser, range(64), None, None, None).latents
        exact = latents * 80 * std / math.hypot(std, 80)
        line = {"standard deviation": f"{std:g}"}
        for n in steps:
            errors = [
                float((sampler.run(denoiser, range(64)).x - exact).square().mean().sqrt())
                for sampler in (
                    Sampler(steps=f"karras:n={n}"),
                    Sampler(steps=f"karras:n={n}", schedule="vp_fitted"),
                    Sampler(steps=f"karras:n={n}", solver="rk2:alpha=0.5"),
                )
            ]
            line[f"{2 * n - 1} evaluations"] = " / ".join(f"{error:.1e}" for error in errors)
        lines.append(line)
    return sheet(lines)


def sheet(lines: list[dict[str, str]]) -> str:
    """Lines as a table; what only some of them have is a dash in the others."""
    if not lines:
        return "Not measured yet.\n"
    heads = list(dict.fromkeys(head for line in lines for head in line))
    return markdown([{head: line.get(head, "–") for head in heads} for line in lines])


def measure(names: Sequence[str]) -> None:
    """Train what is to be studied, if it is not there, and carry the studies out."""
    for subject, run_dir in MODELS.items():
        if any(name.endswith(subject) and str(run_dir) in " ".join(studies()[name]) for name in names):
            resume = ("--resume",) if (run_dir / "checkpoints").exists() else ()
            if not (run_dir / "model").exists():
                elucidiff(*TRAININGS[subject], "--run-dir", str(run_dir), *resume)
    if any(name.endswith("photographs") for name in names) and not PHOTOGRAPHS.exists():
        cut_photographs()
    for name in names:
        elucidiff(*studies()[name], "--out", str(RUNS / name))


def cut_photographs() -> None:
    """Cut scikit-learn's two photographs, a temple and a flower, into patches: RGB, labelled by the photograph."""
    cut = [
        np.lib.stride_tricks.sliding_window_view(photograph, (PATCH, PATCH, 3))[::PATCH, ::PATCH].reshape(
            -1, PATCH, PATCH, 3
        )
        for photograph in load_sample_images().images
    ]
    labels = np.repeat(np.arange(len(cut)), [len(patches) for patches in cut])
    buffer = io.BytesIO()
    np.savez(buffer, images=np.concatenate(cut), labels=labels)
    write_whole(PHOTOGRAPHS, buffer.getvalue())


def elucidiff(*words: str) -> None:
    """Run a command; end with its code if it fails."""
    print("elucidiff", *words, flush=True)
    code = subprocess.run([sys.executable, "-m", "elucidiff", *words]).returncode
    if code:
        sys.exit(code)


# The figure of each kind of study, by the first part of its name, and what it shows.
FIGURES = {
    "sampling": (ablation_bars.draw, "fid"),
    "churn": (ablation_bars.draw, "fid"),
    "churn-curve": (quality_against_nfe.draw, "fid"),
    "training": (ablation_bars.draw, "fid"),
    "augment": (ablation_bars.draw, "fid"),
}


def kind_of(name: str) -> str:
    """The first part of a study's name."""
    return next(name.removesuffix(f"-{subject}") for subject in SUBJECTS if name.endswith(f"-{subject}"))


def page() -> None:
    """Write the page, and beside it tables, figures and measurements of each study that was carried out here.

    The other studies keep what docs/results/orderings/ has of them, and their measurements stay on the page.
    """
    found: dict[str, list[Row]] = {}
    for name in studies():
        folder, kept = RUNS / name, PAGES / f"{name}.csv"
        tables = [path for path in (folder / "table.md", folder / "curve.md") if path.exists()]
        if not tables:
            if kept.exists():
                found[name] = read_results(kept)
            print(f"{name} has {'' if kept.exists() else 'not '}been measured before", file=sys.stderr)
            continue
        found[name] = read_results(folder)
        write_whole(kept, (folder / "results.csv").read_bytes())
        kind = kind_of(name)
        text = tables[0].read_text()
        if kind in FIGURES:
            draw, metric = FIGURES[kind]
            save(draw(found[name], metric), PAGES / name, ["png"])
            text += f"\n![{TITLES[metric]}]({name}.png)\n"
        write_whole(PAGES / f"{name}.md", f"    {command(name)}\n\n{text}")

    def told(*kinds: str) -> str:
        return table_of(found, [each for each in ORDERINGS if each.study in kinds])

    listed = "".join(f"- [{name}](orderings/{name}.md): `{command(name)}`\n" for name in found)
    text = NOTES.format(
        digits=" ".join(("elucidiff", *TRAININGS["digits"], "--run-dir", str(MODELS["digits"]))),
        garments=" ".join(("elucidiff", *TRAININGS["fashion-mnist"], "--run-dir", str(MODELS["fashion-mnist"]))),
        summary=summary(found),
        reasons=REASONS.lstrip(),
        gaussians=gaussians(),
        solvers=told("sampling"),
        alphas=told("alpha"),
        rhos=rho_table(found),
        churns=churn_table(found),
        settings=told("churn"),
        trainings=told("training"),
        augmentations=told("augment"),
        studies=listed,
    )
    write_whole(RESULTS / "orderings.md", text)
    print(text)


def command(name: str) -> str:
    """What was typed."""
    return " ".join(("elucidiff", *studies()[name]))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("measure", "page"))
    parser.add_argument("studies", nargs="*", help="some of them, by name; all by default")
    options = parser.parse_args()
    unknown = [name for name in options.studies if name not in studies()]
    if unknown:
        parser.error(f"there is no study {unknown[0]}: choose some of {', '.join(studies())}")
    if options.verb == "measure":
        measure(options.studies or list(studies()))
    else:
        page()


if __name__ == "__main__":
    main()
