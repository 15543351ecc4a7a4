"""``elucidiff steps optimise|measure MODEL``: samplers made for one model, with measured errors."""

from __future__ import annotations

import contextlib
import math
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

import elucidiff
from elucidiff.cli.common.verbs import Actions
from elucidiff.denoisers.base import DenoiserLike, DenoiserModule
from elucidiff.denoisers.opening import checksum
from elucidiff.launch.interrupt import Interrupt
from elucidiff.launch.output_folder import file_held
from elucidiff.parts import summary
from elucidiff.sampling.grid import range_advice
from elucidiff.sampling.label_choice import draw_labels_from
from elucidiff.sampling.optimise import ExactSolutions, Measurement, measure, optimise_on, solve_exactly
from elucidiff.sampling.optimise.candidate import (
    CANDIDATES,
    check_choices,
    check_deterministic,
    exact_range,
    guided_alike,
    name_of,
)
from elucidiff.sampling.optimise.steps import check_seeds
from elucidiff.sampling.sampler import Sampler, parse_choice
from elucidiff.sampling.saved_samplers import NamedSampler, describe, load_named, names_beside, path_of, save_named
from elucidiff.sampling.seeds import SeedRanges, parse_seeds
from elucidiff.solvers import Heun
from elucidiff.suggest import names_in, suggestion

STANDARD = {"fast": 10, "default": None, "best": 35}
"""Evaluations of the samplers that every model can carry; None: the paper's own, which is only measured."""


@dataclass(frozen=True)
class Optimise:
    """Find noise levels that bring a solver as close to the model's exact ODE solution as a budget allows.

    Needs no data. What is found is measured on seeds that the search never saw, beside karras steps with the rho that
    is best for these very seeds, and kept as MODEL/samplers/NAME.json if it is better. `elucidiff sample MODEL
    --sampler NAME` uses it. Ctrl-C ends the search soon: the best so far is measured, and kept likewise.
    """

    model: tyro.conf.Positional[Path]
    """A model folder, a model of another library, or your own code that makes one, package.module:function."""
    nfe: int | None = None
    """Network evaluations per sample, at most."""
    name: str | None = None
    """Name of the sampler (nfe-8 for --nfe 8)."""
    named: str | None = None
    """Instead of --nfe, some of fast,default,best: at most 10 evaluations, the paper's Heun with 18 karras steps (35
    evaluations; only measured), at most 35."""
    solver: tuple[str, ...] = ()
    """Solvers to try, such as ipndm:order=3 unipc. If this is left out, several multistep solvers."""
    steps: str = "karras"
    """The range allowed, as for `elucidiff sample`: karras:sigma_min=0.01,sigma_max=50 (0.002 to 80)."""
    schedule: str = "edm"
    """The curve that the solvers follow."""
    guidance: str | None = None
    """Guidance under which samples will be drawn, as for `elucidiff sample`."""
    clip: str = "usual"
    """How D will be held within a range meanwhile, as for `elucidiff sample`."""
    free_first: bool = False
    """Let sampling start lower than at the sigma_max of --steps, with the same latents, if that is better."""
    seeds: str = "1000000-1000031"
    """Warm-up seeds, on which the error is minimised."""
    fresh_seeds: str = "2000000-2000063"
    """Other seeds, on which the result is measured."""
    max_minutes: float | None = None
    """Time for the search of one sampler, exact solutions and measurements not counted."""
    labels: str | None = None
    """Classes that each seed draws one of, such as 0-9 or cat,dog, equally often; uniform for all of them; or a label
    vector, or a .npy. If this is left out, each is drawn as often as the training data had it."""
    any_class: bool = False
    """Take --labels even if the training data had no image of that class."""
    batch_size: int = 16
    """Samples in one call of the network."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    overwrite: bool = False
    """Replace a sampler of that name."""

    def __call__(self, command: str) -> int:
        """Search, measure, keep and tell."""
        plan, solvers = self._plan(), self._solvers()
        seeds, fresh_seeds = parse_seeds(self.seeds), parse_seeds(self.fresh_seeds)
        check_seeds(seeds, fresh_seeds)
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ValueError(f"--max-minutes is {self.max_minutes:g}, but must be positive")
        self._refuse_existing(plan)
        denoiser, model = _load(self), checksum(self.model)
        guided = guided_alike(solvers, denoiser)
        for budget in plan.values():
            low, high = check_choices(solvers, guided, 35 if budget is None else budget)
        if advice := range_advice(solvers[0].sigmas(denoiser), denoiser):
            _say(f"warning: {advice}")

        with _names_held(self.model, plan):
            self._refuse_existing(plan)  # another process may have been faster
            return self._search(plan, solvers, guided, (low, high), (seeds, fresh_seeds), command, model)

    def _refuse_existing(self, names: Iterable[str]) -> None:
        for name in names:
            if path_of(self.model, name).exists() and not self.overwrite:
                raise ValueError(f"{self.model} has a sampler {name!r} already: choose another, or add --overwrite")

    def _search(
        self,
        plan: Mapping[str, int | None],
        solvers: Sequence[Sampler],
        guided: DenoiserLike,
        span: tuple[float, float],
        both: tuple[SeedRanges, SeedRanges],
        command: str,
        model: str,
    ) -> int:
        """Search, measure, keep and tell, once all was found right."""
        (low, high), (seeds, fresh_seeds) = span, both
        _say(f"solving the ODE exactly for {len(fresh_seeds)} fresh seeds")
        fresh = warm_up = solve_exactly(guided, fresh_seeds, low, high, batch_size=self.batch_size)
        if any(budget is not None for budget in plan.values()):
            _say(f"solving the ODE exactly for {len(seeds)} warm-up seeds")
            warm_up = solve_exactly(guided, seeds, low, high, batch_size=self.batch_size)
        with Interrupt() as interrupt:
            for name, budget in plan.items():
                if interrupt.received:
                    break
                chosen_on: str | None = None
                if budget is None:
                    sampler = replace(solvers[0], solver=Heun())
                    measured = measure(fresh, sampler)
                else:
                    _say(f"{name}: searching for at most {budget} evaluations")
                    stop = _Until(interrupt, self.max_minutes)
                    found = optimise_on(
                        warm_up, fresh, budget, solvers, free_first=self.free_first, stop=stop, tell=_say
                    )
                    sampler, measured, chosen_on = found.sampler, found.measured, str(seeds)
                _keep(self.model, describe(name, sampler, model, measured, fresh, command, chosen_on), measured)
        return 130 if interrupt.received == "SIGINT" else 0

    def _plan(self) -> dict[str, int | None]:
        """The budget of each sampler that was asked for."""
        if (self.nfe is None) == (self.named is None):
            raise ValueError("say what for: --nfe 8 for one sampler, or --named fast,default,best for the usual ones")
        if self.nfe is not None:
            return {self.name or f"nfe-{self.nfe}": self.nfe}
        if self.name is not None:
            raise ValueError("--name goes with --nfe; --named has names already")
        names = names_in(self.named or "")
        for name in names:
            if name not in STANDARD:
                raise ValueError(f"--named {self.named}: {name!r} is none of them; {suggestion(name, STANDARD)}")
        return {name: STANDARD[name] for name in names}

    def _solvers(self) -> tuple[Sampler, ...]:
        """The candidates, under the guidance and within the range that were asked for."""
        solvers = [Sampler(solver=text) for text in self.solver] or CANDIDATES
        shared = Sampler(self.steps, self.schedule, guidance=self.guidance, clip=parse_choice("clip", self.clip))
        return tuple(replace(shared, solver=each.solver) for each in solvers)


@dataclass(frozen=True)
class Measure:
    """Measure the samplers beside a model again, against the exact ODE solution from seeds that are new to them.

    After more training the weights are others, and samplers that were made for the old ones are refused. Those that
    are still better than the best karras steps are kept for the new weights; the rest are left as they are.
    """

    model: tyro.conf.Positional[Path]
    """A model folder, a model of another library, or your own code that makes one, package.module:function."""
    samplers: str | None = None
    """Names, or paths of files made for other models, with commas between them; left out for all beside the model."""
    seeds: str = "3000000-3000063"
    """Seeds, none of which the samplers were optimised on."""
    labels: str | None = None
    """Classes that each seed draws one of, such as 0-9 or cat,dog, equally often; uniform for all of them; or a label
    vector, or a .npy. If this is left out, each is drawn as often as the training data had it."""
    any_class: bool = False
    """Take --labels even if the training data had no image of that class."""
    batch_size: int = 16
    """Samples in one call of the network."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""

    def __call__(self, command: str) -> int:
        """Measure, keep and tell."""
        names = names_beside(self.model) if self.samplers is None else names_in(self.samplers)
        if not names:
            raise ValueError(f"{self.model} has no samplers: make some with `elucidiff steps optimise {self.model}`")
        chosen = [load_named(self.model, name, any_model=True) for name in names]
        for which, named in zip(names, chosen, strict=True):
            own = path_of(self.model, named.name)
            if which.endswith(".json") and own.exists() and not own.samefile(which):
                raise ValueError(f"{self.model} has its own sampler {named.name!r}: rename or remove {own} first")
        if self.samplers is None:
            # A search may have found samplers that add noise, so that there is nothing to measure them by.
            chosen = [named for named in chosen if named.error is not None]
            if not chosen:
                raise ValueError(f"all samplers of {self.model} add noise: `elucidiff search` measures such")
        seeds = parse_seeds(self.seeds)
        for named in chosen:
            if named.warm_up_seeds is not None:
                check_seeds(parse_seeds(named.warm_up_seeds), seeds)
            check_deterministic(named.sampler)
        denoiser, model = _load(self), checksum(self.model)
        with _names_held(self.model, [named.name for named in chosen]):
            self._measure(chosen, denoiser, model, seeds, command)
        return 0

    def _measure(
        self, chosen: Sequence[NamedSampler], denoiser: DenoiserModule, model: str, seeds: SeedRanges, command: str
    ) -> None:
        """Measure, keep and tell, once all was found right."""
        solved: dict[Any, ExactSolutions] = {}
        for named in chosen:
            sampler = named.sampler
            guided = sampler.guided(denoiser)
            low, high = exact_range(sampler, guided)
            key = (sampler.guidance, low, high)
            if key not in solved:
                _say(f"solving the ODE exactly for {len(seeds)} seeds")
                solved[key] = solve_exactly(guided, seeds, low, high, batch_size=self.batch_size)
            measured = measure(solved[key], sampler)
            made = describe(named.name, sampler, model, measured, solved[key], command, named.warm_up_seeds)
            # What other weights' samples were like says nothing of these.
            _keep(self.model, replace(made, quality=named.quality if named.model == model else None), measured)


ACTIONS: dict[str, type[Optimise] | type[Measure]] = {"optimise": Optimise, "measure": Measure}


def run(arguments: Sequence[str]) -> int:
    """Run one of the two actions."""
    actions = Actions("elucidiff steps", "action", {name: summary(action) for name, action in ACTIONS.items()})
    name, rest = actions.choose(arguments)
    kind: type[Any] = ACTIONS[name]
    return int(actions.parse(kind, name, rest)(f"elucidiff steps {shlex.join(arguments)}"))


@contextlib.contextmanager
def _names_held(model: Path, names: Iterable[str]) -> Iterator[None]:
    """Keep other processes from making samplers of these names."""
    with contextlib.ExitStack() as holding:
        for name in names:
            holding.enter_context(file_held(path_of(model, name)))
        yield


class _Until:
    """A reason to end a search: Ctrl-C, SIGTERM, or that its time is over."""

    def __init__(self, interrupt: Interrupt, minutes: float | None) -> None:
        self._interrupt = interrupt
        self._end = math.inf if minutes is None else time.monotonic() + 60 * minutes

    def __call__(self) -> bool:
        return self._interrupt.received is not None or time.monotonic() > self._end


def _keep(model: Path, named: NamedSampler, measured: Measurement) -> None:
    """Tell what was measured, and keep the sampler if it is worth it: those that were optimised must have gained."""
    cut, baseline = measured.cut, measured.baseline_error
    print(
        f"{named.name}: {name_of(named.sampler)}, {named.nfe} evaluations, error {measured.error:.3g}, "
        f"{abs(cut):.0%} {'less' if cut > 0 else 'more'} than the {baseline:.3g} of karras steps "
        f"with their best rho ({measured.baseline_rho:.3g}); the exact solution is known to {named.exact_error:.1g}"
    )
    if cut > 0 or named.warm_up_seeds is None:
        print(f"{named.name}: kept as {save_named(model, named)}")
    else:
        print(f"{named.name}: not kept, since karras steps are as good")


def _load(action: Optimise | Measure) -> DenoiserModule:
    denoiser: DenoiserModule = elucidiff.load(action.model, action.device)
    draw_labels_from(denoiser, action.labels, any_class=action.any_class)
    return denoiser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
