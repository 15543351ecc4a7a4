"""Noise levels optimised for a model against the best rho of karras steps: errors and Frechet distances.

    python -m benchmarks.optimised_steps measure MODEL --solvers ipndm-3 heun reference   # can be interrupted
    python -m benchmarks.optimised_steps table digits         # writes docs/results/optimised-steps-digits.md and .csv

The model is one of scikit-learn's digits or of Fashion-MNIST. Each row is kept in runs/optimised-steps/ once it is
done, so what was interrupted goes on. The row "reference" is Heun's method with 18 karras steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import elucidiff as ed
from benchmarks.classifier import BLOCK, frechet, mean_and_error, of_garments
from benchmarks.errors import Estimate, ratio, root_mean, squares
from benchmarks.tables import write_table
from elucidiff.data import to_unit
from elucidiff.demo.study import Evaluator
from elucidiff.denoisers.model_folder import checksum
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design.steps import Karras
from elucidiff.files import write_whole
from elucidiff.sampling import Sampler
from elucidiff.sampling.optimise import ExactSolutions, optimise_on, solve_exactly
from elucidiff.training.batches import TrainingData
from elucidiff.training.config import TrainingConfig

RUNS = Path("runs/optimised-steps")
WARM_UP, FRESH = 1_000_000, 2_000_000
SOLVERS = {
    "euler": Sampler(solver="euler"),
    "heun": Sampler(),
    "ipndm-3": Sampler(solver="ipndm:order=3"),
    "dpmpp_2m": Sampler(solver="dpmpp_2m"),
    "dpmpp_3m": Sampler(solver="dpmpp_3m"),
    "unipc-2": Sampler(solver="unipc:p=2"),
}
REFERENCE = "reference"

NOTES = """# Optimised noise levels on {data}

`{command}`, then `table`. The error is the root mean square distance to the exact solution of the ODE (itself off by
less than {exact_error:.1g}) over {fresh} seeds that the optimisation never saw; it saw {warm_up} others. "karras" is
the best rho of Karras et al. 2022, Eq. 5, for these very {fresh} seeds, with the same solver and number of steps, so
it has the advantage. Standard errors are over seeds, that of "less by" over pairs. The Frechet distance is that of
{features}: {blocks} blocks of {size} samples, equal seeds on both sides; "change" is the mean and standard error over
the blocks. Seconds are those of the search and the measurement of the error, on one thread of a busy machine. The
reference is Heun's method with 18 karras steps, rho 7.

"""


@dataclasses.dataclass(frozen=True)
class Task:
    """A model with what its samples are compared with.

    Attributes:
        name: of its data.
        denoiser: the model.
        distances: Frechet distances of samples, one for each block.
        features: what they are distances of.
        blocks: number of blocks.
        size: samples in each.
    """

    name: str
    denoiser: Denoiser
    distances: Callable[[Tensor], list[float]]
    features: str
    blocks: int
    size: int


def task_of(model: Path, blocks: int) -> Task:
    """The task for a model of digits or of Fashion-MNIST."""
    denoiser = ed.load(model).eval()
    name = str(denoiser.facts["data"]["name"])
    if name == "digits":
        data = TrainingData.open(TrainingConfig(data="digits", conditional=True, validation_images=360))
        seen, unseen = data.train, data.held_out
        if unseen is None:
            raise ValueError("no digits are held out")
        pca = Evaluator.fit(*_arrays(seen), *_arrays(unseen))
        distances = lambda x: pca.distances(x.double().numpy())  # noqa: E731
        return Task(name, denoiser, distances, "20 principal components of the training digits", blocks, len(unseen))
    classifier = of_garments(ed.data.open("fashion-mnist"), RUNS / "judge.safetensors")
    reference = to_unit(ed.data.open("fashion-mnist:test").images())
    features = "the features of a small classifier of Fashion-MNIST"
    return Task(
        name, denoiser, lambda x: frechet(classifier, x.float().clamp(-1, 1), reference), features, blocks, BLOCK
    )


def _arrays(part: ed.data.Dataset) -> tuple[Any, Any]:
    return to_unit(part.images()).double().numpy(), np.asarray(part.classes)


def run(options: argparse.Namespace, command: str) -> None:
    """Measure what is not measured yet."""
    task = task_of(options.model, options.blocks)
    path = RUNS / f"{task.name}.json"
    about = {
        "model": checksum(options.model),
        "warm_up": options.warm_up,
        "fresh": options.fresh,
        "blocks": task.blocks,
        "size": task.size,
        "features": task.features,
        "data": task.name,
    }
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    if found["rows"] and any(found[key] != value for key, value in about.items()):
        raise SystemExit(f"{path} is about another model or other numbers of samples: remove it to begin anew")
    found |= {**about, "command": command}
    solved = [
        solve_exactly(task.denoiser, range(first, first + count), 0.002, 80.0, batch_size=options.batch_size)
        for first, count in ((WARM_UP, options.warm_up), (FRESH, options.fresh))
    ]
    found["exact_error"] = max(part.error for part in solved)
    names = [(name, budget) for budget in options.budgets for name in options.solvers if name != REFERENCE]
    if REFERENCE in options.solvers:
        names.append((REFERENCE, 35))
    for name, budget in names:
        if f"{name} {budget}" not in found["rows"]:
            make = _reference if name == REFERENCE else _row
            row = make(task, solved, name, budget, options.batch_size)
            found["rows"][f"{name} {budget}"] = row
            write_whole(path, json.dumps(found, indent=1) + "\n")
            print(json.dumps(_cells(row)), flush=True)


def _reference(task: Task, solved: list[ExactSolutions], name: str, nfe: int, batch_size: int) -> dict[str, Any]:
    return {
        "solver": name,
        "nfe": nfe,
        "squares": squares(solved[1], Sampler()),
        "frechet": _frechet(task, Sampler(), batch_size),
    }


def _row(task: Task, solved: list[ExactSolutions], name: str, budget: int, batch_size: int) -> dict[str, Any]:
    start = time.monotonic()
    found = optimise_on(solved[0], solved[1], budget, [SOLVERS[name]])
    seconds = time.monotonic() - start
    rho = found.measured.baseline_rho
    karras = dataclasses.replace(SOLVERS[name], steps=Karras(len(found.sigmas) - 1, rho=rho))
    return {
        "solver": name,
        "nfe": found.measured.nfe,
        "squares": squares(solved[1], found.sampler),
        "baseline_squares": squares(solved[1], karras),
        "baseline_rho": rho,
        "frechet": _frechet(task, found.sampler, batch_size),
        "baseline_frechet": _frechet(task, karras, batch_size),
        "seconds": seconds,
        "sigmas": found.sigmas.tolist(),
    }


def _frechet(task: Task, sampler: Sampler, batch_size: int) -> list[float]:
    count = task.blocks * task.size
    if not count:
        return []
    labels = torch.arange(count) % 10
    return task.distances(sampler.run(task.denoiser, range(count), labels, batch_size=batch_size).x)


def table(name: str) -> None:
    """Write what was measured as Markdown and as CSV."""
    found = json.loads((RUNS / f"{name}.json").read_text())
    rows = [_cells(row) for row in sorted(found["rows"].values(), key=lambda row: ("seconds" in row, row["nfe"]))]
    print(write_table(f"optimised-steps-{name}", NOTES.format(**found), rows))


def _cells(row: dict[str, Any]) -> dict[str, str]:
    error = f"{root_mean(row['squares']):.4f}"
    if "seconds" not in row:
        return {
            "solver": row["solver"], "evaluations": str(row["nfe"]),
            "error, karras": error, "error, optimised": "", "less by": "",
            "Frechet, karras": _mean(row["frechet"]), "Frechet, optimised": "", "change": "", "seconds": "",
        }  # fmt: skip
    left = ratio(row["squares"], row["baseline_squares"])
    changes = [new - old for new, old in zip(row["frechet"], row["baseline_frechet"], strict=True)]
    return {
        "solver": row["solver"],
        "evaluations": str(row["nfe"]),
        "error, karras": f"{root_mean(row['baseline_squares']):.4f} (rho {row['baseline_rho']:.3g})",
        "error, optimised": error,
        "less by": f"{Estimate(1 - left.value, left.standard_error):.0%}",
        "Frechet, karras": _mean(row["baseline_frechet"]),
        "Frechet, optimised": _mean(row["frechet"]),
        "change": f"{Estimate(*mean_and_error(changes)):+.3f}".replace("± +", "± ") if len(changes) > 1 else "",
        "seconds": f"{row['seconds']:.0f}",
    }


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f}" if values else "not measured"


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    measuring = verbs.add_parser("measure")
    measuring.add_argument("model", type=Path)
    names = [*SOLVERS, REFERENCE]
    measuring.add_argument("--solvers", nargs="+", choices=names, default=names)
    measuring.add_argument("--budgets", nargs="+", type=int, default=[5, 8, 12])
    measuring.add_argument("--warm-up", type=int, default=16)
    measuring.add_argument("--fresh", type=int, default=32)
    measuring.add_argument("--blocks", type=int, default=2, help="of samples for the Frechet distance; 0 for none")
    measuring.add_argument("--batch-size", type=int, default=16)
    verbs.add_parser("table").add_argument("name")
    options = parser.parse_args()
    if options.verb == "table":
        table(options.name)
    else:
        words = [f"--{key.replace('_', '-')} {getattr(options, key)}" for key in ("warm_up", "fresh", "blocks")]
        run(options, " ".join(["python -m benchmarks.optimised_steps measure MODEL", *words]))


if __name__ == "__main__":
    main()
