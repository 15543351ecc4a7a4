"""How far solvers end from the exact ODE solution, against the evaluations they take: ours, diffusers' and azula's.

    python -m benchmarks.truncation_error MODEL [--samples 64] [--out docs/results/truncation-error-MODEL]

All start from the same latents, of seeds 0, 1, ..., with the same labels, and call the same network. The error is the
root mean square distance of a value to the solution by 512 steps of Heun's method. Steps are karras steps with rho 7
from 80 to 0.002 for all. Every solver is tried with two ends, and the better one counts at each budget:

    evaluated    the last evaluation is at the lowest noise level, and gives the sample;
    beyond       there is one step more, and the last evaluation is at the level before the lowest: ours go on from
                 there to 0, the others to the lowest, their own end.

Writes OUT.csv, row by row, so that a run that was stopped goes on, and OUT.md.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

import elucidiff as ed
from benchmarks.other_solvers import of_azula, of_diffusers
from elucidiff.denoisers.model_folder import checksum
from elucidiff.files import write_whole
from elucidiff.sampling.optimise.exact import ExactSolutions, solve_exactly
from elucidiff.sampling.solvers import Solver

BUDGETS = (5, 8, 10, 12, 15, 20, 35)
LOW, HIGH = 0.002, 80.0
EXACT_STEPS = 512
ENDS = ("evaluated", "beyond")


@dataclass(frozen=True)
class Row:
    """One run: its error, and what it was a run of."""

    model: str
    samples: int
    library: str
    solver: str
    budget: int
    nfe: int
    end: str
    error: float


@dataclass(frozen=True)
class Contender:
    """A solver under its name; ``run(budget, end)`` gives samples and the evaluations they took."""

    library: str
    solver: str
    run: Callable[[int, str], tuple[Tensor, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--out", type=Path, help="default: docs/results/truncation-error-MODEL")
    options = parser.parse_args()
    out = options.out or Path("docs/results") / f"truncation-error-{options.model.resolve().name}"

    exact = solve_exactly(
        ed.load(options.model).eval(), range(options.samples), LOW, HIGH, fine_steps=EXACT_STEPS, batch_size=16
    )
    print(f"exact to about {exact.error:.1e}", flush=True)
    rows = list(measured(exact, checksum(options.model), out.with_suffix(".csv")))
    text = report(rows, options.model.resolve().name, exact)
    write_whole(out.with_suffix(".md"), text)
    print(text)


def measured(exact: ExactSolutions, model: str, path: Path) -> Iterator[Row]:
    """All rows: those that the file has, and the others, which are added to it."""
    known = {(r.model, r.samples, r.library, r.solver, r.budget, r.end): r for r in _read(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = len(exact.latents)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        if not known:
            writer.writeheader()
        for contender in contenders(exact):
            for budget in BUDGETS:
                for end in ENDS:
                    key = (model, samples, contender.library, contender.solver, budget, end)
                    if key not in known:
                        x, nfe = contender.run(budget, end)
                        error = float((x - exact.x).square().mean().sqrt())
                        known[key] = Row(*key[:5], nfe, end, error)
                        writer.writerow(asdict(known[key]))
                        file.flush()
                    yield known[key]


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    kinds = {"samples": int, "budget": int, "nfe": int, "error": float}
    with path.open(newline="") as file:
        return [
            Row(**{name: kinds.get(name, str)(value) for name, value in row.items()}) for row in csv.DictReader(file)
        ]


def contenders(exact: ExactSolutions) -> Iterator[Contender]:
    """Every deterministic solver with fixed steps: ours, then theirs."""
    s = ed.solvers
    edm: dict[str, Solver] = {
        "heun": s.Heun(),
        "euler": s.Euler(),
        "dpmpp_2m": s.DPMpp2M(),
        "dpmpp_3m": s.DPMpp3M(),
        **{f"unipc, order {p}, {variant}": s.UniPC(p, variant) for p in (2, 3) for variant in ("bh1", "bh2")},
        **{f"ipndm, order {order}": s.IPNDM(order) for order in (2, 3, 4)},
        "sa_solver, tau 0": s.SASolver(tau=0),
    }
    for name, solver in edm.items():
        yield Contender("elucidiff", name, _ours(exact, solver, ed.schedules.EDM()))
    schedules = {
        "edm": ed.schedules.EDM(),
        "vp": ed.schedules.VP.fit(LOW, HIGH),
        "flow": ed.schedules.Flow(),
        "exponential": ed.schedules.Exponential(),
    }
    for name, schedule in schedules.items():
        for order in (2, 3, 4):
            yield Contender("elucidiff", f"deis, order {order}, {name}", _ours(exact, s.DEIS(order), schedule))
    for library, solvers in (("diffusers", of_diffusers()), ("azula", of_azula())):
        for name, run in solvers.items():
            yield Contender(library, name, _theirs(exact, run))


def _ours(
    exact: ExactSolutions, solver: Solver, schedule: ed.schedules.Schedule
) -> Callable[..., tuple[Tensor, int]]:
    def run(budget: int, end: str) -> tuple[Tensor, int]:
        steps = (budget + 1) // 2 if isinstance(solver, ed.solvers.Heun) else budget
        sigmas = ed.steps.karras(steps, LOW, HIGH)
        if end == "beyond":
            sigmas = torch.cat([ed.steps.karras(steps + 1, LOW, HIGH)[:steps], sigmas[-1:]])
        record: list[int | Tensor] = []
        x = ed.sample(
            exact.denoiser,
            exact.latents,
            sigmas,
            solver=solver,
            schedule=schedule,
            labels=exact.labels,
            callback=lambda step: record.append(step.nfe),
        )
        return x, int(record[-1])

    return run


def _theirs(exact: ExactSolutions, solver: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, int]]:
    @torch.no_grad()
    def run(budget: int, end: str) -> tuple[Tensor, int]:
        calls = 0

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            given = () if exact.labels is None else (exact.labels,)
            denoised: Tensor = exact.denoiser(x, sigma.double(), *given)
            return denoised.double()

        sigmas = ed.steps.karras(budget + 1 if end == "beyond" else budget, LOW, HIGH)[:-1]
        x = solver(denoise, exact.latents.double() * sigmas[0], sigmas)
        return (x if end == "beyond" else denoise(x, sigmas[-1])), calls

    return run


def report(rows: list[Row], model: str, exact: ExactSolutions) -> str:
    """The Markdown: a row a solver, the best of each budget bold; then the best of ours over the best of theirs."""
    errors: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        of_solver = errors.setdefault((row.library, row.solver), {})
        of_solver[row.budget] = min(row.error, of_solver.get(row.budget, float("inf")))
    best = {budget: min(values[budget] for values in errors.values()) for budget in BUDGETS}
    ours, theirs = (
        {n: min(values[n] for key, values in errors.items() if (key[0] == "elucidiff") is mine) for n in BUDGETS}
        for mine in (True, False)
    )
    lines = [
        f"# Truncation error on {model}",
        "",
        f"Root mean square distance of a value to the exact ODE solution: {len(exact.latents)} samples, values",
        f"spread by {exact.spread:.2f}, the solution's own error about {exact.error:.0e}. Karras steps with rho 7",
        "from 80 to 0.002 for all, and two ends (see `benchmarks/truncation_error.py`), the better one counting.",
        "Heun takes one evaluation less than an even budget.",
        "",
        f"    python -m benchmarks.truncation_error MODEL --samples {len(exact.latents)}",
        "",
        "| library | solver | " + " | ".join(f"NFE {budget}" for budget in BUDGETS) + " |",
        "|---|---|" + "---|" * len(BUDGETS),
    ]
    for (library, solver), values in errors.items():
        cells = [f"**{values[n]:.5f}**" if values[n] == best[n] else f"{values[n]:.5f}" for n in BUDGETS]
        lines.append(f"| {library} | {solver} | {' | '.join(cells)} |")
    ratios = " | ".join(f"{ours[n] / theirs[n]:.2f}" for n in BUDGETS)
    lines.append(f"| our best / their best | | {ratios} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
