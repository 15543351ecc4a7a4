"""``elucidiff steps optimise|measure MODEL``: samplers made for one model, with measured errors."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from elucidiff.cli.common.progress import Telling, Watching, code_after
from elucidiff.cli.common.verbs import Actions
from elucidiff.launch.interrupt import StoppedError
from elucidiff.parts import summary
from elucidiff.sampling.optimise.candidate import CANDIDATES
from elucidiff.sampling.own_samplers import STANDARD, make_samplers, measure_samplers
from elucidiff.sampling.sampler import Sampler, parse_choice
from elucidiff.suggest import names_in, suggestion


@dataclass(frozen=True)
class Optimise:
    """Find noise levels that bring a solver as close to the model's exact ODE solution as a budget allows.

    Needs no data. What is found is measured on seeds that the search never saw, beside karras steps with the rho that
    is best for these very seeds, and kept as MODEL/samplers/NAME.json if it is better. `elucidiff sample MODEL
    --sampler NAME` uses it. Ctrl-C ends the search soon: the best so far is measured, and kept likewise.

    Examples::

        elucidiff steps optimise runs/demo/model --nfe 8
        elucidiff sample runs/demo/model --sampler nfe-8 --seeds 0-63 --grid
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
        with Watching() as watch, contextlib.suppress(StoppedError):
            make_samplers(
                self.model,
                self._plan(),
                self._solvers(),
                free_first=self.free_first,
                seeds=self.seeds,
                fresh_seeds=self.fresh_seeds,
                max_minutes=self.max_minutes,
                labels=self.labels,
                any_class=self.any_class,
                batch_size=self.batch_size,
                device=self.device,
                overwrite=self.overwrite,
                command=command,
                watch=watch,
            )
        return code_after(watch.received)

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

    Examples::

        elucidiff steps measure runs/demo/model
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
        measure_samplers(
            self.model,
            None if self.samplers is None else names_in(self.samplers),
            seeds=self.seeds,
            labels=self.labels,
            any_class=self.any_class,
            batch_size=self.batch_size,
            device=self.device,
            command=command,
            watch=Telling(),
        )
        return 0


ACTIONS: dict[str, type[Optimise] | type[Measure]] = {"optimise": Optimise, "measure": Measure}


def run(arguments: Sequence[str]) -> int:
    """Run one of the two actions."""
    actions = Actions("elucidiff steps", "action", {name: summary(action) for name, action in ACTIONS.items()})
    return actions.made(ACTIONS, arguments)(f"elucidiff steps {shlex.join(arguments)}")
