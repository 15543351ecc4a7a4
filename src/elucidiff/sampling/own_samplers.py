"""A model's own samplers: made for a budget of evaluations, measured, and kept beside it."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.opening import checksum, load
from elucidiff.launch.interrupt import Watch
from elucidiff.launch.output_folder import file_held
from elucidiff.sampling.given import draw_labels_from
from elucidiff.sampling.grid import range_advice
from elucidiff.sampling.optimise import ExactSolutions, Measurement, measure, optimise_on, solve_exactly
from elucidiff.sampling.optimise.candidate import (
    CANDIDATES,
    check_choices,
    check_deterministic,
    exact_range,
    guided_alike,
    name_of,
)
from elucidiff.sampling.optimise.steps import FRESH_SEEDS, WARM_UP_SEEDS, check_seeds
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.saved_samplers import NamedSampler, describe, load_named, names_beside, path_of, save_named
from elucidiff.sampling.seeds import parse_seeds, seed_ranges
from elucidiff.solvers import Heun

STANDARD = {"fast": 10, "default": None, "best": 35}
"""Evaluations of the samplers that every model can carry; None: the paper's own, which is only measured."""

_NEW_SEEDS = range(3_000_000, 3_000_064)


@dataclass(frozen=True)
class OwnSampler:
    """A sampler that was measured for a model.

    Attributes:
        named: the sampler, and what was measured of it.
        measured: the same beside the best karras steps.
        path: the file that keeps it; None if it is no better than those, and so was not kept.

    >>> import elucidiff as ed
    >>> points = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    >>> few = {"seeds": range(4), "fresh_seeds": range(4, 8)}
    >>> found = ed.sampling.optimise_steps(ed.ideal.DataPosterior(points), 5, [ed.Sampler(solver="heun")], **few)
    >>> named = ed.sampling.NamedSampler("five", found.sampler, "", 5, None, None, None, None, None, None, "by hand")
    >>> ed.sampling.OwnSampler(named, found.measured, None).measured.cut > 0
    True
    """

    named: NamedSampler
    measured: Measurement
    path: Path | None


def make_samplers(
    model: str | os.PathLike[str],
    budgets: Mapping[str, int | None],
    candidates: Sequence[Sampler] = CANDIDATES,
    *,
    free_first: bool = False,
    seeds: str | Sequence[int] = WARM_UP_SEEDS,
    fresh_seeds: str | Sequence[int] = FRESH_SEEDS,
    max_minutes: float | None = None,
    labels: str | None = None,
    any_class: bool = False,
    batch_size: int = 16,
    device: str = "auto",
    overwrite: bool = False,
    command: str | None = None,
    watch: Watch | None = None,
) -> list[OwnSampler]:
    """Find noise levels that bring a solver as close to the model's exact ODE solution as budgets allow.

    Needs no data. Each is measured on seeds that the search never saw, beside karras steps with the rho that is best
    for these very seeds, and kept as MODEL/samplers/NAME.json if it is better.

    Args:
        model: a model folder, or what else :func:`elucidiff.load` opens.
        budgets: the largest number of network evaluations of each sampler, by its name; None for the first
            candidate's choices with Heun's method as they are, which are only measured. See :data:`STANDARD`.
        candidates: see :func:`.optimise_steps`, also for ``free_first``.
        seeds: warm-up seeds, on which the error is minimised.
        fresh_seeds: others, on which the result is measured.
        max_minutes: for the search of one sampler, exact solutions and measurements not counted.
        labels: what seeds draw their labels from; see :func:`.draw_labels_from`.
        any_class: likewise.
        batch_size: samples in one call of the network.
        device: where to compute.
        overwrite: replace samplers of these names.
        command: what is noted of how they came about; None for the call itself.
        watch: is told how it goes, and may end it soon: then the best so far is measured, and kept likewise.

    Raises:
        ValueError: a name is taken or impossible, or see :func:`.optimise_steps`.
        OSError: the model cannot be read, or a sampler not be written.
        StoppedError: ``watch`` ended it before there was anything to measure.

    >>> import elucidiff as ed
    >>> import tempfile
    >>> network = ed.networks.UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
    >>> few = {"seeds": range(2), "fresh_seeds": range(2, 4), "device": "cpu"}
    >>> with tempfile.TemporaryDirectory() as model:
    ...     ed.Denoiser(network, ed.preconditioning.EDM()).save(model)
    ...     (made,) = ed.sampling.make_samplers(model, {"five": 5}, [ed.Sampler(solver="dpmpp_2m")], **few)
    ...
    >>> made.named.name, made.named.nfe
    ('five', 5)
    """
    watch = watch or Watch()
    warm_up_seeds, fresh = seed_ranges(seeds), seed_ranges(fresh_seeds)
    check_seeds(warm_up_seeds, fresh)
    if max_minutes is not None and not max_minutes > 0:
        raise ValueError(f"--max-minutes is {max_minutes:g}, but must be positive")
    _refuse_existing(model, budgets, overwrite)
    denoiser, identity = _opened(model, device, labels, any_class), checksum(model)
    guided = guided_alike(candidates, denoiser)
    for budget in budgets.values():
        low, high = check_choices(candidates, guided, 35 if budget is None else budget)
    if advice := range_advice(candidates[0].sigmas(denoiser), denoiser):
        watch.note(f"warning: {advice}")
    said = command or f"make_samplers({str(model)!r}, {dict(budgets)!r})"
    made = []
    with _names_held(model, budgets):
        _refuse_existing(model, budgets, overwrite)  # another process may have been faster
        watch.note(f"solving the ODE exactly for {len(fresh)} fresh seeds")
        solving: dict[str, Any] = {"batch_size": batch_size, "between": watch.stop_if_asked}
        test = practice = solve_exactly(guided, fresh, low, high, **solving)
        if any(budget is not None for budget in budgets.values()):
            watch.note(f"solving the ODE exactly for {len(warm_up_seeds)} warm-up seeds")
            practice = solve_exactly(guided, warm_up_seeds, low, high, **solving)
        for name, budget in budgets.items():
            if watch.asks_to_stop():
                break
            chosen_on: str | None = None
            if budget is None:
                sampler = replace(candidates[0], solver=Heun())
                measured = measure(test, sampler)
            else:
                watch.note(f"{name}: searching for at most {budget} evaluations")
                stop = _stopping(watch, max_minutes)
                found = optimise_on(
                    practice, test, budget, candidates, free_first=free_first, stop=stop, tell=watch.note
                )
                sampler, measured, chosen_on = found.sampler, found.measured, str(warm_up_seeds)
            named = describe(name, sampler, identity, measured, test, said, chosen_on)
            made.append(_kept(model, named, measured, watch))
    return made


def measure_samplers(
    model: str | os.PathLike[str],
    samplers: Sequence[str] | None = None,
    *,
    seeds: str | Sequence[int] = _NEW_SEEDS,
    labels: str | None = None,
    any_class: bool = False,
    batch_size: int = 16,
    device: str = "auto",
    command: str | None = None,
    watch: Watch | None = None,
) -> list[OwnSampler]:
    """Measure samplers beside a model again, on seeds that are new to them.

    After more training the weights are others. Those that are still better than the best karras steps are kept for
    the new weights; the rest are left as they are.

    Args:
        model: a model folder, or what else :func:`elucidiff.load` opens.
        samplers: names, or paths of files made for other models; None for all beside the model that add no noise.
        seeds: none of which the samplers were optimised on.
        labels: what seeds draw their labels from; see :func:`.draw_labels_from`.
        any_class: likewise.
        batch_size: samples in one call of the network.
        device: where to compute.
        command: what is noted of how they were measured; None for the call itself.
        watch: is told how it goes.

    Raises:
        ValueError: there is no such sampler, one adds noise, or it was optimised on one of the seeds.
        OSError: something cannot be read or written.

    >>> import elucidiff as ed
    >>> import tempfile
    >>> network = ed.networks.UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
    >>> few = {"seeds": range(2), "fresh_seeds": range(2, 4), "device": "cpu"}
    >>> with tempfile.TemporaryDirectory() as model:
    ...     ed.Denoiser(network, ed.preconditioning.EDM()).save(model)
    ...     made = ed.sampling.make_samplers(model, {"paper": None}, **few)
    ...     (again,) = ed.sampling.measure_samplers(model, seeds=range(4, 6), device="cpu")
    ...
    >>> again.named.nfe, again.named.seeds
    (35, '4-5')
    """
    watch = watch or Watch()
    names = names_beside(model) if samplers is None else list(samplers)
    if not names:
        raise ValueError(f"{model} has no samplers: make some with `elucidiff steps optimise {model}`")
    chosen = [load_named(model, name, any_model=True) for name in names]
    for which, named in zip(names, chosen, strict=True):
        own = path_of(model, named.name)
        if which.endswith(".json") and own.exists() and not own.samefile(which):
            raise ValueError(f"{model} has its own sampler {named.name!r}: rename or remove {own} first")
    if samplers is None:
        # A search may have found samplers that add noise, so that there is nothing to measure them by.
        chosen = [named for named in chosen if named.error is not None]
        if not chosen:
            raise ValueError(f"all samplers of {model} add noise: `elucidiff search` measures such")
    fresh = seed_ranges(seeds)
    for named in chosen:
        if named.warm_up_seeds is not None:
            check_seeds(parse_seeds(named.warm_up_seeds), fresh)
        check_deterministic(named.sampler)
    denoiser, identity = _opened(model, device, labels, any_class), checksum(model)
    said = command or f"measure_samplers({str(model)!r}, {samplers!r})"
    made = []
    solved: dict[Any, ExactSolutions] = {}
    with _names_held(model, [named.name for named in chosen]):
        for named in chosen:
            sampler = named.sampler
            guided = sampler.guided(denoiser)
            low, high = exact_range(sampler, guided)
            key = (sampler.guidance, low, high)
            if key not in solved:
                watch.note(f"solving the ODE exactly for {len(fresh)} seeds")
                solved[key] = solve_exactly(
                    guided, fresh, low, high, batch_size=batch_size, between=watch.stop_if_asked
                )
            measured = measure(solved[key], sampler)
            again = describe(named.name, sampler, identity, measured, solved[key], said, named.warm_up_seeds)
            # What other weights' samples were like says nothing of these.
            quality = named.quality if named.model == identity else None
            made.append(_kept(model, replace(again, quality=quality), measured, watch))
    return made


def _opened(model: str | os.PathLike[str], device: str, labels: str | None, any_class: bool) -> DenoiserModule:
    denoiser: DenoiserModule = load(model, device)
    draw_labels_from(denoiser, labels, any_class=any_class)
    return denoiser


def _refuse_existing(model: str | os.PathLike[str], names: Iterable[str], overwrite: bool) -> None:
    for name in names:
        if path_of(model, name).exists() and not overwrite:
            raise ValueError(f"{model} has a sampler {name!r} already: choose another, or add --overwrite")


@contextlib.contextmanager
def _names_held(model: str | os.PathLike[str], names: Iterable[str]) -> Iterator[None]:
    """Keep other processes from making samplers of these names."""
    with contextlib.ExitStack() as holding:
        for name in names:
            holding.enter_context(file_held(path_of(model, name)))
        yield


def _stopping(watch: Watch, minutes: float | None) -> Callable[[], bool]:
    """True once the watch ends it, or its time is over."""
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    return lambda: watch.asks_to_stop() or time.monotonic() > end


def _kept(model: str | os.PathLike[str], named: NamedSampler, measured: Measurement, watch: Watch) -> OwnSampler:
    """Tell what was measured, and keep the sampler if it is worth it: those that were optimised must have gained."""
    cut, baseline = measured.cut, measured.baseline_error
    watch.result(
        f"{named.name}: {name_of(named.sampler)}, {named.nfe} evaluations, error {measured.error:.3g}, "
        f"{abs(cut):.0%} {'less' if cut > 0 else 'more'} than the {baseline:.3g} of karras steps "
        f"with their best rho ({measured.baseline_rho:.3g}); the exact solution is known to {named.exact_error:.1g}"
    )
    path = None
    if cut > 0 or named.warm_up_seeds is None:
        path = save_named(model, named)
        watch.result(f"{named.name}: kept as {path}")
    else:
        watch.result(f"{named.name}: not kept, since karras steps are as good")
    return OwnSampler(named, measured, path)
