"""How far solvers end from the exact ODE solution, against the evaluations they take: ours, diffusers' and azula's.

    python -m benchmarks.truncation_error MODEL [--screening 6] [--final 48]

All start from the same latents with the same labels and call the same network. Steps are karras steps with rho 7 from
80 to 0.002 for all. The error is the root mean square distance of a value to the exact solution of the ODE, followed
down to a hundredth of 0.002, where it has stopped changing: what D says at 0.002 is up to 4e-4 away from that. Every
solver is tried with two ends, and the better one counts at each budget:

    evaluated    the last evaluation is at the lowest noise level, and gives the sample;
    beyond       there is one step more, and the last evaluation is at the level before the lowest: ours go on from
                 there to 0, the others to the lowest, their own end.

A few seeds show all solvers, and choose one solver for each library and budget. These are then measured again, with
both ends, on many other seeds, all on the same ones, so that what was chosen for its luck has none there. A few seeds
are too few to choose an end: the two differ by little.

Where `benchmarks/optimised_steps.py` has optimised noise levels for the model, on seeds of its own, ours are measured
with these as well. The others have no such thing; both figures are in the table.

Each run is kept in runs/truncation-error/ once it is done, so what was interrupted goes on. Writes
docs/results/truncation-error-DATA.md and .csv, after the name of the model's data.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import elucidiff as ed
from benchmarks.errors import Estimate, ratio, root_mean
from benchmarks.optimised_steps import RUNS as OPTIMISER_RUNS
from benchmarks.other_solvers import of_azula, of_diffusers
from benchmarks.tables import markdown, write_results
from elucidiff.denoisers.model_folder import checksum
from elucidiff.files import write_whole
from elucidiff.sampling.optimise import ExactSolutions, solve_exactly
from elucidiff.solvers import Solver

RUNS = Path("runs/truncation-error")
EXACT = {"sigma_min": 2e-5, "fine_steps": 160}
BUDGETS = (5, 8, 10, 12, 15, 20, 35)
LOW, HIGH = 0.002, 80.0
ENDS = ("evaluated", "beyond")
LIBRARIES = ("elucidiff", "diffusers", "azula")
OPTIMISED, OPTIMISED_SOLVER = "elucidiff, optimised steps", "ipndm-3"
FINAL_SEEDS = 1_000
BATCH = 16

NOTES = """# Truncation error on {data}

Root mean square distance of a value to the exact ODE solution, itself off by less than {exact:.0e}; the values of
the solutions have a standard deviation of {spread:.2f}.
Karras steps with rho 7 from 80 to 0.002 for all, and two ends, the better one
counting (see `benchmarks/truncation_error.py`). All solvers on {screening} seeds chose one for each library and
budget; these are compared on {final} other seeds, with standard errors over seeds, that of the ratio over pairs.
Optimised steps are those of `benchmarks/optimised_steps.py` for this model, found on seeds of their own.

    python -m benchmarks.truncation_error MODEL --screening {screening} --final {final}

"""

SCREENING = """
## All solvers, {screening} seeds

The smallest of a column is bold; standard errors are about {relative:.0%}, but all solvers have the same seeds. Heun
takes one evaluation less than an even budget.

"""


@dataclass(frozen=True)
class Contender:
    """A solver under its name; ``run(exact, budget, end)`` gives samples and the evaluations they took."""

    library: str
    solver: str
    run: Callable[[ExactSolutions, int, str], tuple[Tensor, int]]


@dataclass(frozen=True)
class Row:
    """What a contender reached at a budget with its better end, over some seeds."""

    contender: Contender
    budget: int
    end: str
    nfe: int
    squares: tuple[float, ...]
    """Mean square error of each seed."""

    @property
    def error(self) -> Estimate:
        return root_mean(self.squares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--screening", type=int, default=6, help="seeds on which all solvers are tried")
    parser.add_argument("--final", type=int, default=48, help="other seeds, for the best of each library")
    options = parser.parse_args()
    denoiser = ed.load(options.model).eval()
    data = str(denoiser.facts["data"]["name"])
    kept = Kept(RUNS / f"{data}.json", {"model": checksum(options.model), "exact": EXACT})

    exact = _solve(denoiser, range(options.screening))
    screened = {
        (each.library, each.solver, budget): kept.better(exact, each, budget, ENDS)
        for each in contenders()
        for budget in BUDGETS
    }
    chosen = {
        (library, budget): min(
            (row for key, row in screened.items() if key[0] == library and key[2] == budget),
            key=lambda row: row.error.value,
        )
        for library in LIBRARIES
        for budget in BUDGETS
    }
    unseen = _solve(denoiser, range(FINAL_SEEDS, FINAL_SEEDS + options.final))
    final = {key: kept.better(unseen, row.contender, row.budget, ENDS) for key, row in chosen.items()}
    for budget, contender in optimised(data, checksum(options.model)):
        final[OPTIMISED, budget] = kept.better(unseen, contender, budget, ("optimised",))

    facts = {"data": data, "exact": unseen.error, "spread": unseen.std, **vars(options)}
    relative = sorted(row.error.standard_error / row.error.value for row in screened.values())[len(screened) // 2]
    text = (
        NOTES.format(**facts)
        + markdown(list(_compared(final)))
        + SCREENING.format(relative=relative, **facts)
        + markdown(list(_all_solvers(screened)))
    )
    sheet = [_sheet_row("screening", row) for row in screened.values()]
    sheet += [_sheet_row("final", row) for row in final.values()]
    write_results(f"truncation-error-{data}", text, sheet)
    print(text)


def _solve(denoiser: ed.Denoiser, seeds: range) -> ExactSolutions:
    exact = solve_exactly(denoiser, seeds, sigma_max=HIGH, batch_size=min(len(seeds), BATCH), **EXACT)
    print(f"{len(seeds)} seeds from {seeds[0]}: exact to about {exact.error:.1e}", flush=True)
    return exact


class Kept:
    """Runs that are done, in a file.

    Args:
        path: where.
        about: what they are of.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else dict(about)
        if any(self.found.get(key) != value for key, value in about.items()):
            raise SystemExit(f"{path} is about another model or exact solution: remove it to begin anew")

    def better(self, exact: ExactSolutions, contender: Contender, budget: int, ends: tuple[str, ...]) -> Row:
        """The row of the better one of the ends; they are run if they are not there."""
        rows = [Row(contender, budget, end, *self._squares(exact, contender, budget, end)) for end in ends]
        return min(rows, key=lambda row: row.error.value)

    def _squares(
        self, exact: ExactSolutions, contender: Contender, budget: int, end: str
    ) -> tuple[int, tuple[float, ...]]:
        seeds = f"{exact.seeds[0]}-{exact.seeds[-1]}"
        key = " | ".join((seeds, contender.library, contender.solver, str(budget), end))
        if key not in self.found:
            x, nfe = contender.run(exact, budget, end)
            self.found[key] = (nfe, (x - exact.x).square().flatten(1).mean(1).tolist())
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, json.dumps(self.found) + "\n")
        nfe, squares = self.found[key]
        return nfe, tuple(squares)


def contenders() -> Iterator[Contender]:
    """Deterministic solvers with fixed steps, of the orders that are any good: ours, then all of theirs."""
    s = ed.solvers
    edm: dict[str, Solver] = {
        "heun": s.Heun(),
        "euler": s.Euler(),
        "dpmpp_2m": s.DPMpp2M(),
        "dpmpp_3m": s.DPMpp3M(),
        "unipc, order 2": s.UniPC(2),
        "unipc, order 3": s.UniPC(3),
        "ipndm, order 3": s.IPNDM(3),
        "ipndm, order 4": s.IPNDM(4),
        "sa_solver, tau 0": s.SASolver(tau=0),
        "deis, order 4, edm": s.DEIS(4),
    }
    for name, solver in edm.items():
        yield Contender("elucidiff", name, _ours(solver, ed.schedules.EDM()))
    yield Contender("elucidiff", "deis, order 4, vp", _ours(s.DEIS(4), ed.schedules.VP.fit(LOW, HIGH)))
    for order in (3, 4):
        yield Contender("elucidiff", f"deis, order {order}, flow", _ours(s.DEIS(order), ed.schedules.Flow()))
        yield Contender(
            "elucidiff", f"deis, order {order}, exponential", _ours(s.DEIS(order), ed.schedules.Exponential())
        )
    for library, solvers in (("diffusers", of_diffusers()), ("azula", of_azula())):
        for name, run in solvers.items():
            yield Contender(library, name, _theirs(run))


def _ours(solver: Solver, schedule: ed.schedules.Schedule) -> Callable[..., tuple[Tensor, int]]:
    def run(exact: ExactSolutions, budget: int, end: str) -> tuple[Tensor, int]:
        steps = (budget + 1) // 2 if isinstance(solver, ed.solvers.Heun) else budget
        sigmas = ed.steps.karras(steps, LOW, HIGH)
        if end == "beyond":
            sigmas = torch.cat([ed.steps.karras(steps + 1, LOW, HIGH)[:steps], sigmas[-1:]])
        return _sampled(exact, sigmas, solver, schedule)

    return run


def optimised(data: str, model: str) -> Iterator[tuple[int, Contender]]:
    """Budgets and our solver with the noise levels that were optimised for this very model, if any were."""
    path = OPTIMISER_RUNS / f"{data}.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    if found.get("model") != model:
        return
    for row in found["rows"].values():
        if row["solver"] == OPTIMISED_SOLVER:
            yield row["nfe"], Contender("elucidiff", "ipndm, order 3, optimised", _on_levels(row["sigmas"]))


def _on_levels(levels: list[float]) -> Callable[..., tuple[Tensor, int]]:
    def run(exact: ExactSolutions, budget: int, _: str) -> tuple[Tensor, int]:
        return _sampled(exact, torch.tensor(levels, dtype=torch.float64), ed.solvers.IPNDM(3), ed.schedules.EDM())

    return run


def _sampled(
    exact: ExactSolutions, sigmas: Tensor, solver: Solver, schedule: ed.schedules.Schedule
) -> tuple[Tensor, int]:
    """Samples, and the evaluations that each of them took."""
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


def _theirs(solver: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, int]]:
    @torch.no_grad()
    def run(exact: ExactSolutions, budget: int, end: str) -> tuple[Tensor, int]:
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


def _compared(final: dict[tuple[str, int], Row]) -> Iterator[dict[str, str]]:
    for budget in BUDGETS:
        rows = [final[library, budget] for library in LIBRARIES]
        ours, theirs = rows[0], min(rows[1:], key=lambda row: row.error.value)
        yield {
            "NFE": str(budget),
            **{row.contender.library: f"{row.error:.5f} ({row.contender.solver})" for row in rows},
            "ours / the better of theirs": f"{ratio(ours.squares, theirs.squares):.2f}",
            **_compared_optimised(final.get((OPTIMISED, budget)), theirs),
        }


def _compared_optimised(ours: Row | None, theirs: Row) -> dict[str, str]:
    if ours is None:
        return {"ours, optimised steps": "", "that / theirs": ""}
    return {
        "ours, optimised steps": f"{ours.error:.5f} ({ours.contender.solver.removesuffix(', optimised')})",
        "that / theirs": f"{ratio(ours.squares, theirs.squares):.2f}",
    }


def _all_solvers(screened: dict[tuple[str, str, int], Row]) -> Iterator[dict[str, str]]:
    errors = {key: row.error.value for key, row in screened.items()}
    least = {n: min(error for key, error in errors.items() if key[2] == n) for n in BUDGETS}
    for library, solver in dict.fromkeys(key[:2] for key in errors):
        cells = {n: f"{errors[library, solver, n]:.5f}" for n in BUDGETS}
        shown = {
            f"NFE {n}": f"**{cells[n]}**" if errors[library, solver, n] == least[n] else cells[n] for n in BUDGETS
        }
        yield {"library": library, "solver": solver, **shown}


def _sheet_row(part: str, row: Row) -> dict[str, str]:
    return {
        "part": part,
        "library": row.contender.library,
        "solver": row.contender.solver,
        "budget": str(row.budget),
        "nfe": str(row.nfe),
        "end": row.end,
        "seeds": str(len(row.squares)),
        "error": repr(row.error.value),
        "standard error": repr(row.error.standard_error),
    }


if __name__ == "__main__":
    main()
