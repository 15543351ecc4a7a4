"""The explorer without a page: samples that somebody asks for, told step by step, compared, and reproducible."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.data.scaling import scaling_of
from elucidiff.denoisers import opening
from elucidiff.denoisers.backends import with_backend
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.tuned import is_tuned
from elucidiff.devices import choose_device
from elucidiff.sampling.editing import Edit
from elucidiff.sampling.given import labels_or_uniform
from elucidiff.sampling.grid import range_advice
from elucidiff.sampling.inverse import Mask, restore
from elucidiff.sampling.loop import Step, count_evaluations
from elucidiff.sampling.optimise.exact import PATH_ROWS, solve_exactly
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import SeedRanges, parse_seeds
from elucidiff.web import digits
from elucidiff.web.controls import field_meant
from elucidiff.web.reproducing import BATCH_SIZE, Recipe, Recipes
from elucidiff.web.request import Begin, Limits, Mistake, MistakesError, Repaint, Request
from elucidiff.web.stopping import Guard, Stop
from elucidiff.web.trace import Trace, Tracer

_EVERY = 0.1  # seconds between two states


@dataclass(frozen=True)
class State:
    """A run that is under way.

    Attributes:
        step: steps that were taken.
        steps: of how many.
        sigma: the noise level that the last one started from.
        nfe: network evaluations per sample so far; of an adaptive solver the most.
        seconds: since it began.
        preview: D there, ``(B, C, *spatial)`` as a data set holds it.
    """

    step: int
    steps: int
    sigma: float
    nfe: int
    seconds: float
    preview: Tensor


@dataclass(frozen=True)
class Outcome:
    """Samples that were drawn.

    Attributes:
        request: what was asked for.
        images: the samples, ``(B, C, *spatial)`` as a data set holds them.
        x: the same as the model sees them, float64.
        seeds: one each.
        classes: the class of each, or its vector, in words; empty texts without labels.
        nfe: network evaluations of each, ``(B,)``.
        seconds: that it took.
        sigmas: the noise levels, ``(N + 1,)``.
        trace: the ways of the samples; None for restored pictures.
        recipe: how to draw them without the explorer.
        notes: what should be known about it.
    """

    request: Request
    images: Tensor
    x: Tensor
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    nfe: Tensor
    seconds: float
    sigmas: Tensor
    trace: Trace | None
    recipe: Recipe
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exactness:
    """The exact ODE solutions from the same seeds, and how far samples are from them.

    Attributes:
        x: the solutions, ``(B, C, *spatial)``, float32.
        distance: root mean square difference of each sample, ``(B,)``, in units of the noise levels.
        error: that of the solutions themselves, at most about.
        traces: the exact way of each sample, B = 1 each.
    """

    x: Tensor
    distance: Tensor
    error: float
    traces: tuple[Trace, ...]


@dataclass(frozen=True)
class _Solution:
    x: Tensor
    error: float
    trace: Trace


class Explorer:
    """A model that is looked at. Any number of threads may draw with it at once.

    Args:
        model: as it is named on the command line; by default the exact denoiser of the digits.
        guide: the worse model of autoguidance.
        device: cpu, cuda, mps or auto.
        threads: on a CPU; another number has other last bits.
        limits: the most that one request may cost.

    Raises:
        ValueError: a model cannot be opened.
        OSError: it cannot be read.

    >>> explorer = Explorer()
    >>> outcome = explorer.draw(Request(Sampler(n=6), seeds="0-2"))
    >>> outcome.images.shape, outcome.nfe.tolist()
    (torch.Size([3, 1, 8, 8]), [11, 11, 11])
    """

    def __init__(
        self,
        model: str = digits.MODEL,
        *,
        guide: str | None = None,
        device: str = "auto",
        threads: int = 1,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
    ) -> None:
        place = choose_device(device)
        self.model, self.limits, self.threads = model, limits, threads
        self.loaded: DenoiserModule = opening.load(model, place)
        self.loaded.known_labels.refuse_field("the page")
        self.denoiser = with_backend(self.loaded, "eager")
        self.loaded_guide: DenoiserModule | None = None if guide is None else opening.load_guide(guide, model, place)
        self.guide = None if self.loaded_guide is None else with_backend(self.loaded_guide, "eager")
        self.scaling = scaling_of(self.loaded)
        self._guard = Guard(self.loaded, *([] if self.denoiser is self.loaded else [self.denoiser]))
        self._recipes = Recipes(model, guide, device, threads)
        self._solutions: OrderedDict[tuple[object, ...], _Solution] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def usual(self) -> Sampler:
        """How the model is sampled from where nobody chooses."""
        return Sampler.usual(self.loaded)

    def check(self, request: Request) -> list[Mistake]:
        """All that is wrong with a request, found before anything is computed; nothing if it can be done."""
        mistakes = []
        count = 1
        try:
            seeds = parse_seeds(request.seeds)
            count = min(len(seeds), self.limits.images)
            if len(seeds) > self.limits.images:
                raise ValueError(f"{len(seeds)} samples are too many at once: ask for at most {self.limits.images}")
            if (twice := seeds.first_repeated()) is not None:
                raise ValueError(f"seed {twice} is there twice: it would be the same sample")
        except ValueError as error:
            mistakes.append(Mistake("seeds", str(error)))
        try:
            labels_or_uniform(request.labels.strip() or None, self.loaded)
        except (ValueError, OSError) as error:
            mistakes.append(Mistake("labels", str(error).replace("--labels", "labels")))
        mistakes += self._wrong_with_sampler(request.sampler, count)
        mistakes += self._wrong_with_source(request.source)
        return mistakes

    def draw(
        self, request: Request, watch: Callable[[State], object] = lambda state: None, stop: Stop | None = None
    ) -> Outcome:
        """Draw samples, in this thread.

        Args:
            request: what is wanted.
            watch: is told how it goes, after the first step and then ten times a second at most.
            stop: ends it.

        Raises:
            MistakesError: the request cannot be done; nothing was computed.
            StoppedError: ``stop`` was asked to end it.
            ValueError: the samples are not finite, or took more evaluations than they may.
        """
        if mistakes := self.check(request):
            raise MistakesError(mistakes)
        stop, seeds = stop or Stop(), parse_seeds(request.seeds)
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        most = self.limits.nfe * math.ceil(len(seeds) / BATCH_SIZE) * 2  # under guidance two calls each
        with self._guard.watching(stop, most):
            stop.look()
            if isinstance(request.source, Repaint):
                return self._restore(request, request.source, seeds)
            return self._sample(request, seeds, watch, stop)

    def stream(self, request: Request, stop: Stop | None = None) -> Iterator[State | Outcome]:
        """The states of a run as they come, and at the end its outcome; closing the iterator ends the run.

        Raises:
            MistakesError: as :meth:`draw`, as are the others.

        >>> *states, outcome = Explorer().stream(Request(Sampler(n=6), seeds="0"))
        >>> states[0].step, states[0].sigma, outcome.seeds
        (1, 80.0, (0,))
        """
        stop = stop or Stop()
        told: queue.SimpleQueue[State | Outcome | BaseException] = queue.SimpleQueue()

        def work() -> None:
            try:
                told.put(self.draw(request, told.put, stop))
            except BaseException as error:
                told.put(error)

        threading.Thread(target=work, daemon=True).start()
        try:
            while not isinstance(found := told.get(), Outcome):
                if isinstance(found, BaseException):
                    raise found
                yield found
            yield found
        finally:
            stop.ask()

    def why_inexact(self, request: Request) -> str | None:
        """Why there is no exact solution to compare with; None if there is one."""
        if isinstance(request.source, Repaint):
            return "a restored picture follows another ODE"
        if isinstance(request.source, Begin):
            return "it begins at a picture"
        if is_tuned(self.loaded):
            return "a model that was tuned for few evaluations has no ODE"
        if not request.sampler.deterministic:
            return "noise is added on the way"
        guided = request.sampler.guided(self.denoiser, self.guide)
        if not math.isfinite(float(request.sampler.sigmas(guided)[0])):
            return "it begins at infinite noise"
        return None

    def exactness(self, outcome: Outcome, stop: Stop | None = None) -> Exactness:
        """Compare samples with the exact solutions from their seeds, which are kept for the next time.

        Raises:
            ValueError: there are none; see :meth:`why_inexact`.
            StoppedError: ``stop`` was asked to end it.
        """
        request, stop = outcome.request, stop or Stop()
        if why := self.why_inexact(request):
            raise ValueError(f"there is no exact solution to compare with: {why}")
        guided = request.sampler.guided(self.denoiser, self.guide)
        sigmas = request.sampler.sigmas(guided)
        high, low = float(sigmas[0]), float(sigmas[sigmas > 0][-1])
        if low == high:
            low = max(float(guided.sigma_min), min(0.002, high / 2))
        choices = (low, high, repr(request.sampler.guidance), repr(request.sampler.clip))
        labels = self._labels(request, len(outcome.seeds))
        keys = [
            (seed, str(labels[row].tolist()) if isinstance(labels, Tensor) else labels, *choices)
            for row, seed in enumerate(outcome.seeds)
        ]
        missing = [row for row, key in enumerate(keys) if key not in self._solutions]
        found: dict[int, _Solution] = {}
        with self._guard.watching(stop, 1 << 40):
            for start in range(0, len(missing), PATH_ROWS):
                rows = missing[start : start + PATH_ROWS]
                exact = solve_exactly(
                    guided,
                    [outcome.seeds[row] for row in rows],
                    low,
                    high,
                    labels=labels[rows] if isinstance(labels, Tensor) else labels,
                    batch_size=BATCH_SIZE,
                    between=stop.look,
                )
                levels = torch.tensor([place.sigma for place in exact.path], dtype=torch.float64)
                x, denoised = (
                    torch.stack([getattr(place, name).float().cpu() for place in exact.path])
                    for name in ("x", "denoised")
                )
                whole = Trace(levels, x, denoised)
                for place, row in enumerate(rows):
                    found[row] = _Solution(exact.x[place].float().cpu(), exact.error, whole.of(place))
        solutions = self._kept(keys, found)
        x = torch.stack([each.x for each in solutions])
        distance = (outcome.x - x).square().flatten(1).mean(1).sqrt()
        return Exactness(x, distance, max(each.error for each in solutions), tuple(each.trace for each in solutions))

    def _kept(self, keys: Sequence[tuple[object, ...]], found: dict[int, _Solution]) -> list[_Solution]:
        """The solutions of all keys; new ones are kept, those that were not asked for longest are forgotten."""
        with self._lock:
            for row, key in enumerate(keys):
                if row in found:
                    self._solutions[key] = found[row]
            used = [found[row] if row in found else self._solutions[key] for row, key in enumerate(keys)]
            for key in keys:
                self._solutions.move_to_end(key)
            values = used[0].trace.x.numel() * 2
            while len(self._solutions) > max(len(keys), self.limits.kept // values):
                self._solutions.popitem(last=False)
            return used

    def _sample(self, request: Request, seeds: SeedRanges, watch: Callable[[State], object], stop: Stop) -> Outcome:
        sampler = request.sampler
        guided = sampler.guided(self.denoiser, self.guide)
        prepared = sampler.prepare(guided)
        edit = self._edit(request.source)
        sigmas = prepared.sigmas if edit is None else edit.sigmas(prepared.sigmas)
        tracer, started, told = Tracer(prepared.schedule, self.limits.kept), time.perf_counter(), -math.inf

        def after(step: Step) -> None:
            nonlocal told
            stop.look()
            tracer.note(step)
            now = time.perf_counter()
            if now - told >= _EVERY:
                told = now
                preview = self.scaling.to_data(step.denoised.cpu())
                nfe = int(torch.as_tensor(step.nfe).max())
                watch(State(step.index + 1, len(sigmas) - 1, step.sigma, nfe, now - started, preview))

        result = sampler.run(
            self.denoiser,
            seeds,
            self._labels(request, len(seeds)),
            batch_size=BATCH_SIZE,
            callback=after,
            guide=self.guide,
            edit=edit,
        )
        seconds, x = time.perf_counter() - started, result.x.cpu()
        advice = range_advice(sampler.sigmas(self.loaded), self.loaded)
        return Outcome(
            request,
            self.scaling.to_data(x),
            x,
            tuple(seeds),
            self._classes(result.labels, len(seeds)),
            result.nfe_each.clone(),
            seconds,
            sigmas,
            tracer.trace(x),
            self._recipes.of(request),
            (advice,) if advice else (),
        )

    def _restore(self, request: Request, source: Repaint, seeds: SeedRanges) -> Outcome:
        started = time.perf_counter()
        known = Mask(~source.mask)
        y = known(self._seen(source.picture)[None])
        found = restore(
            self.loaded,
            known,
            y,
            seeds,
            noise=source.noise,
            sampler=request.sampler,
            guide=self.loaded_guide,
            labels=request.labels.strip() or None,
            batch_size=BATCH_SIZE,
        )
        return Outcome(
            request,
            self.scaling.to_data(found.x),
            found.x,
            tuple(seeds),
            ("",) * len(seeds),
            torch.as_tensor(found.nfe).expand(len(seeds)).clone(),
            time.perf_counter() - started,
            request.sampler.sigmas(self.loaded),
            None,
            self._recipes.of(request),
            (f"known pixels are met to {float(found.misfit.mean()):.2g} RMS; {found.products} backward passes each",),
        )

    def _wrong_with_sampler(self, sampler: Sampler, samples: int) -> list[Mistake]:
        limits = self.limits
        try:
            # Its own count comes before anything that grows with it.
            if (given := getattr(sampler.steps, "n", 0)) > limits.steps:
                return [Mistake("steps.n", f"{given} steps are too many here: at most {limits.steps}")]
            guided = sampler.guided(self.denoiser, self.guide)
            steps = len(sampler.sigmas(guided)) - 1
            if steps > limits.steps:
                return [Mistake("steps", f"{steps} steps are too many here: at most {limits.steps}")]
            if sampler.restarts is not None and sampler.restarts.repeats * sampler.restarts.steps > limits.steps:
                return [Mistake("restarts.repeats", f"these are too many steps: at most {limits.steps}")]
            nfe = count_evaluations(sampler.prepare(guided), guided)
        except ValueError as error:
            return [Mistake(field_meant(str(error)), str(error))]
        if nfe > limits.nfe:
            return [Mistake("steps", f"{nfe} evaluations a sample are too many here: at most {limits.nfe}")]
        if nfe * samples > limits.evaluations:
            most = limits.evaluations // nfe
            return [Mistake("seeds", f"{samples} samples of {nfe} evaluations are too much here: at most {most}")]
        return []

    def _wrong_with_source(self, source: Begin | Repaint | None) -> list[Mistake]:
        if source is None:
            return []
        shape = self.loaded.sample_shape
        if tuple(source.picture.shape) != shape:
            text = f"the picture has shape {tuple(source.picture.shape)}, but the model makes {shape}"
            return [Mistake("picture", text)]
        try:
            if isinstance(source, Begin):
                self._edit(source)
            else:
                Mask(~source.mask)
                if tuple(source.mask.shape) != shape[1:]:
                    raise ValueError(f"the mask has shape {tuple(source.mask.shape)}, not {shape[1:]}")
                if not 0 < source.noise < math.inf:
                    return [Mistake("noise", f"noise is {source.noise:g}, but must be a number above 0")]
        except ValueError as error:
            return [Mistake("strength" if "strength" in str(error) else "picture", str(error))]
        return []

    def _edit(self, source: Begin | Repaint | None) -> Edit | None:
        return Edit(self._seen(source.picture), source.strength) if isinstance(source, Begin) else None

    def _seen(self, picture: Tensor) -> Tensor:
        """A picture as a data set holds it, as the model sees it: what :func:`.read_given` returns."""
        return self.scaling.to_model(picture[None])[0].double()

    def _labels(self, request: Request, count: int) -> Tensor | str | None:
        asked = labels_or_uniform(request.labels.strip() or None, self.loaded)
        return asked[torch.arange(count) % len(asked)] if isinstance(asked, Tensor) else asked

    def _classes(self, rows: object, count: int) -> tuple[str, ...]:
        known = self.loaded.known_labels
        if not isinstance(rows, Tensor) or known.kind == "conditions":
            return ("",) * count
        rows = rows.expand(count, -1)
        if known.kind == "vectors":
            return tuple(", ".join(f"{value:.2g}" for value in row) for row in rows[:, :4].tolist())
        return tuple(known.name(known.place(number)) for number in known.numbers_of(rows))
