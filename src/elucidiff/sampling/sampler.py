"""A sampler: every choice of a sampling run as a part, each independent of the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.denoisers.base import DenoiserLike, DenoiserModule, as_denoiser
from elucidiff.denoisers.clipping import Clipped, Clipping
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.guided import Guidance
from elucidiff.denoisers.shapes import Labels
from elucidiff.design.schedules import VP, FittedVP, Schedule
from elucidiff.design.steps import Spaced, Steps
from elucidiff.networks.fields import LABELS
from elucidiff.notebooks import table_html
from elucidiff.plain_data import typed_value
from elucidiff.sampling import table
from elucidiff.sampling.checks import check_arguments, check_combination, check_history, seeds_from
from elucidiff.sampling.churn import Churn, Restart
from elucidiff.sampling.editing import Edit
from elucidiff.sampling.fixed_batch import FixedBatch
from elucidiff.sampling.grid import noise_grid, range_of, warn_of_range
from elucidiff.sampling.loop import Prepared, SampleResult, Step
from elucidiff.sampling.seeds import begin
from elucidiff.solvers import Solver
from elucidiff.suggest import suggestion

KINDS: Mapping[str, str] = {
    "steps": "steps",
    "schedule": "schedule",
    "solver": "solver",
    "churn": "churn",
    "restarts": "restart",
    "guidance": "guidance",
    "clip": "clip",
}
"""The choices of a :class:`Sampler` and the kind of part that each is."""


@dataclass(frozen=True, init=False)
class Sampler:
    """All sampling choices of Karras et al. 2022, Table 1 and Algorithm 2, and more, each a part.

    Every choice is an object, a name, or a text form such as ``"ipndm:order=3"``.

    Args:
        steps: how many steps there are, and how their noise levels are spaced.
        schedule: the curve that the solver follows.
        solver: takes the steps.
        churn: noise added at every step (Algorithm 2); a number is S_churn. None for none.
        restarts: a part of the run to repeat with fresh noise; None for none.
        guidance: how far samples are led away from a worse model; a number is the weight. None for not at all.
        clip: how D, guided already, is held within a range; a number is the largest value. None for not at all; by
            default as the model itself says.
        n: shorthand for the setting of ``steps`` of that name, as are the next three.
        sigma_min: likewise.
        sigma_max: likewise.
        rho: likewise.

    Raises:
        ValueError: a name is unknown, a value is out of its range, or two choices do not go together.
        TypeError: a choice is none of these.

    >>> import elucidiff as ed
    >>> sampler = ed.Sampler(steps=ed.steps.Karras(8), solver="ipndm:order=3")
    >>> sampler.to_text()
    'steps=karras:n=8 solver=ipndm:order=3'
    >>> ed.Sampler.parse("solver=ipndm:order=3 steps=karras:n=8") == sampler
    True
    """

    steps: Steps
    schedule: Schedule
    solver: Solver
    churn: Churn | None
    restarts: Restart | None
    guidance: Guidance | None
    clip: Clipping | None

    def __init__(
        self,
        steps: Steps | str = "karras",
        schedule: Schedule | str = "edm",
        solver: Solver | str = "heun",
        churn: Churn | str | float | None = None,
        restarts: Restart | str | None = None,
        guidance: Guidance | str | float | None = None,
        clip: Clipping | str | float | None = "usual",
        *,
        n: int | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        rho: float | None = None,
    ) -> None:
        short = {"n": n, "sigma_min": sigma_min, "sigma_max": sigma_max, "rho": rho}
        given = {
            "steps": steps,
            "schedule": schedule,
            "solver": solver,
            "churn": churn,
            "restarts": restarts,
            "guidance": guidance,
            "clip": clip,
        }
        for name, value in given.items():
            object.__setattr__(self, name, None if value is None else parts.resolve(KINDS[name], value))
        if settings := {name: value for name, value in short.items() if value is not None}:
            object.__setattr__(self, "steps", _with_settings(self.steps, settings))
        # Parts that do nothing are none, so that equal runs are equal samplers.
        if self.churn is not None and self.churn.amount == 0:
            object.__setattr__(self, "churn", None)
        if self.restarts is not None and self.restarts.repeats == 0:
            object.__setattr__(self, "restarts", None)
        if self.guidance is not None and not self.guidance.acts:
            object.__setattr__(self, "guidance", None)
        # Everything that can be wrong without a denoiser is found here, before any work starts.
        prepared = self.prepare()
        check_combination(prepared.solver, prepared.churn, prepared.restarts)
        grid = noise_grid(
            None, prepared.schedule, prepared.sigmas, prepared.churn, torch.device("cpu"), prepared.restarts
        )
        check_history(prepared.solver, grid)

    def _repr_html_(self) -> str:
        """A table of the choices, for notebooks."""
        chosen = {name: getattr(self, name) for name in KINDS}
        rows = [(name, "none" if part is None else parts.to_text(part)) for name, part in chosen.items()]
        return table_html("Sampler", rows)

    @classmethod
    def from_table(cls, name: str, n: int = 18) -> Sampler:
        """The sampler of a column of Karras et al. 2022, Table 1: vp, ve, iddpm or edm.

        The constants of the vp schedule follow the range of the run, as in the paper.

        Raises:
            ValueError: there is no such column.
        """
        if name not in table.NAMES:
            raise ValueError(f"there is no column {name!r} in Table 1: choose one of {', '.join(table.NAMES)}")
        design = table.NAMES[name]
        schedule = FittedVP() if isinstance(design.schedule, VP) else design.schedule
        return cls(replace(design.steps, n=n), schedule, design.solver)

    @classmethod
    def usual(cls, denoiser: DenoiserLike, n: int | None = None) -> Sampler:
        """The sampler of a model where nobody chooses: the paper's, or what the model itself says.

        Args:
            denoiser: D.
            n: number of steps.

        >>> import elucidiff as ed
        >>> ed.Sampler.usual(ed.ideal.DataPosterior(torch.zeros(1, 1))) == ed.Sampler()
        True
        >>> time = ed.adapters.ContinuousTime(ed.schedules.Flow())
        >>> flow = ed.adapters.AdaptedDenoiser(lambda x, t: -x, "flow", time)
        >>> ed.Sampler.usual(flow, n=8).to_text()
        'steps=flow:n=8 solver=ipndm:order=2'
        """
        usual = as_denoiser(denoiser, called=False).usual
        return cls(usual.steps, solver=usual.solver, n=n)

    @classmethod
    def chosen(cls, choice: SamplerChoice, denoiser: DenoiserLike) -> Sampler:
        """The sampler that somebody chose for a model: see :data:`SamplerChoice`.

        Raises:
            ValueError: a text spells none; see :meth:`parse`.

        >>> import elucidiff as ed
        >>> model = ed.ideal.DataPosterior(torch.zeros(1, 1))
        >>> ed.Sampler.chosen("euler steps=karras:n=8", model).n, ed.Sampler.chosen(None, model).n
        (8, 18)
        """
        if isinstance(choice, Sampler):
            return choice
        if isinstance(choice, str):
            return cls.parse(choice)
        return cls.usual(denoiser) if choice is None else choice(denoiser)

    @classmethod
    def parse(cls, text: str, base: Sampler | None = None) -> Sampler:
        """The sampler that ``text`` spells: choices such as ``solver=heun``, with spaces between them.

        A word without a choice's name is the solver: ``"heun steps=karras:n=10"``.

        Args:
            text: see :meth:`to_text`.
            base: what is left out; the defaults if there is none.

        Raises:
            ValueError: a choice or a part is unknown, or a value is out of its range.
        """
        values: dict[str, Any] = {}
        for word in re.findall(r'(?:"(?:[^"\\]|\\.)*"|\S)+', text):
            name, equals, value = word.partition("=")
            if name not in KINDS:
                if equals and ":" not in name:
                    raise ValueError(f"a sampler has no choice {name!r}; {suggestion(name, KINDS)}")
                name, value = "solver", word
            if name in values:
                raise ValueError(f"{text!r} chooses {name} twice")
            values[name] = parse_choice(name, value)
        return replace(base or cls(), **values)

    def to_text(self) -> str:
        """The choices that are not the defaults, in the order of :data:`KINDS`; :meth:`parse` reads it."""
        default = _DEFAULT
        words = [
            f"{name}={'none' if (value := getattr(self, name)) is None else parts.to_text(value)}"
            for name in KINDS
            if getattr(self, name) != getattr(default, name)
        ]
        return " ".join(words)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Sampler:
        """The inverse of :meth:`to_plain`; what is missing takes its default.

        Raises:
            ValueError: a name is unknown (the nearest one is suggested), or a value is of the wrong type or range.
        """
        for name in values:
            if name not in KINDS:
                raise ValueError(f"a sampler has no choice {name!r}; {suggestion(str(name), KINDS)}")
        made: dict[str, Any] = {
            name: None if value is None else parts.from_plain(KINDS[name], value) for name, value in values.items()
        }
        return cls(**made)

    def to_plain(self) -> dict[str, Any]:
        """All choices as JSON-able values; infinity becomes the string "inf"."""
        return {name: None if (part := getattr(self, name)) is None else parts.to_plain(part) for name in KINDS}

    def with_settings(self, values: Mapping[str, Any]) -> Sampler:
        """The same sampler with single settings changed, such as ``{"steps.n": 12, "churn.amount": 30}``.

        A choice itself is changed by its name: ``{"solver": "ipndm:order=3"}``; other settings then hold for the new
        part.

        Raises:
            ValueError: there is no such choice or setting, or a value is out of its range.
        """
        chosen: dict[str, Any] = {
            name: None if value is None else parts.resolve(KINDS[_choice(name)], value)
            for name, value in values.items()
            if "." not in name
        }
        for name, value in values.items():
            if "." not in name:
                continue
            choice, _, key = name.partition(".")
            part = chosen.get(choice, getattr(self, _choice(choice)))
            if part is None:
                part = parts.find(KINDS[choice], str(parts.KINDS[KINDS[choice]].bare))()
            spelled = {each.name: each for each in parts.settings(type(part))}
            if key not in spelled:
                raise ValueError(f"{parts.to_text(part)} has no setting {key!r}; {suggestion(key, spelled)}")
            chosen[choice] = replace(part, **{key: typed_value(spelled[key].type, value, name)})
        return replace(self, **chosen)

    def without_effect(self, names: Iterable[str]) -> list[str]:
        """Those of the settings ``names``, as :meth:`with_settings` calls them, that change nothing here."""
        return [name for name in names if "." in name and not self._matters(*name.split(".", 1))]

    def _matters(self, choice: str, key: str) -> bool:
        part = getattr(self, choice)
        if part is None:  # an amount, a number of repeats, a weight or a limit would make it one
            return key in ("amount", "repeats", "weight", "limit")
        if key not in {each.name for each in parts.settings(type(part))}:
            return False
        # An adaptive solver takes its range from the steps, and chooses what lies between.
        if choice == "steps" and self.solver.adaptive:
            return key in ("sigma_min", "sigma_max")
        return not (key in ("tau_sigma_min", "tau_sigma_max") and not self.solver.stochastic)

    @property
    def n(self) -> int:
        """The number of steps N."""
        return len(self.steps.within()) - 1

    @property
    def deterministic(self) -> bool:
        """True if it follows the ODE without added noise, so that there is an exact solution to compare with."""
        return not self.solver.stochastic and self.churn is None and self.restarts is None

    def sigmas(self, denoiser: DenoiserLike | None = None) -> Tensor:
        """The noise levels (N + 1,) for a denoiser, its range respected; None for one without a range.

        Raises:
            ValueError: nothing of the range is left.
        """
        return self.prepare(denoiser).sigmas

    def prepare(self, denoiser: DenoiserLike | None = None) -> Prepared:
        """These choices as the arguments of ``sample``, within the range of noise levels that the denoiser supports.

        Raises:
            ValueError: nothing of the range is left.
        """
        lowest, highest = range_of(denoiser)
        low, high = self.steps.range_within(lowest, highest)
        steps = self.steps
        if self.solver.adaptive and isinstance(steps, Spaced) and steps.n == 1:
            steps = replace(steps, n=2)  # from which it takes its range, which a single step does not have
        return Prepared(
            steps.within(lowest, highest),
            self.solver,
            self.schedule.fitted(low, high),
            self.churn,
            () if self.restarts is None else (self.restarts,),
        )

    def guided(self, denoiser: DenoiserLike, guide: DenoiserLike | None = None) -> DenoiserModule:
        """The denoiser that these choices sample from: ``denoiser`` under guidance and clipped, or itself without.

        Args:
            denoiser: D.
            guide: the worse model of autoguidance; None for classifier-free guidance.

        Raises:
            ValueError: the denoiser cannot be guided so, or the guide does not fit it; see :class:`.Guidance`.
        """
        guided = as_denoiser(denoiser)
        if self.guidance is not None or guide is not None:
            guided = (self.guidance or Guidance()).guided(denoiser, guide)
        clip = None if self.clip is None else self.clip.beside(guided.usual.clip)
        return guided if clip is None else Clipped(guided, clip)

    def run(
        self,
        denoiser: DenoiserLike,
        seeds: Sequence[int] | int,
        labels: Labels | Conditions | int | str | None = None,
        *,
        any_class: bool = False,
        shape: Sequence[int] | None = None,
        batch_size: int = 16,
        callback: Callable[[Step], object] | None = None,
        device: torch.device | str | None = None,
        guide: DenoiserLike | None = None,
        edit: Edit | None = None,
    ) -> SampleResult:
        """Draw one sample a seed.

        A sample depends on its seed, its label, ``batch_size`` and the sampler, and, on one kind of machine, to the
        last bit on nothing else: see :class:`.FixedBatch`.

        Args:
            denoiser: D; its ``sigma_min``, ``sigma_max``, ``round_sigma``, ``sample_shape`` and what it knows of its
                labels (``known_labels``, or ``label_dim``, ``label_kind`` and ``label_examples``) are respected.
            seeds: one integer a sample; or how many samples, with the seeds 0, 1, 2, ...
            labels: class numbers or names (B,), rows (B, label_dim), or one class for all; a tensor, list or NumPy
                array. A denoiser that takes a field is given ``{"field": (B, C, *spatial), "labels": ...}``, or the
                field alone. One of label vectors takes rows alone; one of conditions, or that says nothing, any
                tensor or mapping of tensors (B, ...), or (1, ...) for all. By default each seed draws a class as
                often as the training data had it, where that is known, or one of the denoiser's ``label_examples``;
                ``"uniform"`` draws the classes that were trained equally often.
            any_class: take classes that the training data did not have, which are refused otherwise.
            shape: shape (C, *spatial) of a sample; by default the denoiser's ``sample_shape``.
            batch_size: number of samples in every call of the denoiser.
            callback: called with a :class:`.Step` after each step, about all samples at once.
            device: where to compute; a denoiser that is a module is moved there. By default where it is.
            guide: the worse model of autoguidance, likewise; None for classifier-free guidance, or none.
            edit: a picture to begin at instead of at pure noise (SDEdit).

        Warns:
            UserWarning: the noise levels do not suit the data that the denoiser says it was made for.

        Raises:
            TypeError: an argument is not of its kind.
            ValueError: the labels or the shape do not fit, the denoiser supports none of the noise levels, or it
                cannot be guided as asked for; or (:class:`.NotFiniteError`) a sample became NaN or infinite: the
                message names its seed, and the step.
        """
        denoiser = as_denoiser(denoiser)
        check_arguments(None, (), None, callback)
        seeds = seeds_from(seeds)
        warn_of_range(self.sigmas(denoiser), denoiser)
        denoiser = self.guided(denoiser, guide)
        if device is not None:
            denoiser.to(device)
        beginning = begin(denoiser, seeds, labels, shape, device, any_class=any_class)
        prepared, latents = self.prepare(denoiser), beginning.latents
        if edit is not None:
            edit.check(latents.shape[1:], len(latents))
            prepared = replace(prepared, sigmas=edit.sigmas(prepared.sigmas))
            latents = edit.latents(latents, prepared.sigmas[0])
        nfe: int | Tensor = 0

        def watch(step: Step) -> None:
            nonlocal nfe
            nfe = step.nfe
            if callback is not None:
                callback(step)

        x = prepared.sample(
            FixedBatch(denoiser, batch_size),
            latents,
            labels=beginning.labels,
            noise=beginning.noise,
            callback=watch,
        )
        rows = beginning.labels
        if isinstance(rows, Tensor):
            rows = denoiser.known_labels.by_number(rows)
        elif denoiser.known_labels.field and rows is not None and LABELS in rows:
            rows = {**rows, LABELS: denoiser.known_labels.by_number(rows[LABELS])}
        return SampleResult(x, nfe, beginning.noise.seeds, rows, prepared.sigmas)

    def run_in_parts(
        self,
        denoiser: DenoiserLike,
        seeds: Sequence[int],
        labels: Callable[[range], Labels | Conditions | str | None] = lambda places: None,
        *,
        at_once: int = 64,
        before: Callable[[], object] = lambda: None,
        **options: Any,
    ) -> Iterator[SampleResult]:
        """Draw one sample a seed by :meth:`run`, some after the others: not all have to be in memory together.

        A part is drawn when it is asked for. Its samples are those that one :meth:`run` would have drawn if
        ``at_once`` is a multiple of ``batch_size``, or if the denoiser does not depend on the batch.

        Args:
            denoiser: as for :meth:`run`.
            seeds: one integer a sample.
            labels: the labels at some places of ``seeds``, given these places.
            at_once: number of samples in a part.
            before: called before each part; may raise to end the work.
            options: others of :meth:`run`.

        >>> import elucidiff as ed
        >>> denoiser = ed.ideal.DataPosterior(torch.tensor([[-1.0], [1.0]]))
        >>> [len(part.x) for part in ed.Sampler(steps=ed.steps.Karras(6)).run_in_parts(denoiser, range(5), at_once=2)]
        [2, 2, 1]
        """
        for start in range(0, len(seeds), at_once):
            places = range(start, min(start + at_once, len(seeds)))
            before()
            yield self.run(denoiser, [seeds[place] for place in places], labels(places), **options)


SamplerChoice: TypeAlias = Sampler | str | Callable[[DenoiserLike], Sampler] | None
"""A choice of a sampler: an object, a text form, what makes one for a given model, or None for the model's usual."""

_DEFAULT = Sampler()


def parse_choice(name: str, text: str, like: object | None = None) -> Any:
    """A choice of a sampler as people write it: the text form of a part, or ``none``.

    Args:
        name: which choice, one of :data:`KINDS`.
        text: what is to be read.
        like: a part that has the settings that are left out; see :func:`.parts.parse`.

    Raises:
        ValueError: no such part or setting, a value of the wrong type or out of its range, or settings beside one
            that turns the part off, where they have no effect.
    """
    if text.strip() == "none":
        return None
    part = parts.parse(KINDS[name], text, like)
    if parts.KINDS[KINDS[name]].bare is None or getattr(Sampler(**{name: part}), name) is not None:
        return part
    first, *others = parts.settings(type(part))
    if unused := [each.name for each in others if getattr(part, each.name) != each.default]:
        amount = getattr(part, first.name)
        raise ValueError(
            f"{unused[0]} would have no effect in {name} {text!r}, as {first.name} is {amount:g}: leave it out"
        )
    return part


def _with_settings(steps: Steps, settings: Mapping[str, Any]) -> Steps:
    """``steps`` with some settings changed.

    Raises:
        TypeError: a value is of the wrong type.
        ValueError: there is no such setting.
    """
    known = {each.name for each in parts.settings(type(steps))}
    if unknown := [name for name in settings if name not in known]:
        raise ValueError(f"steps {parts.name_of(steps)} have no setting {unknown[0]!r}: leave it out")
    changed: Steps = replace(steps, **settings)  # type: ignore[type-var]  # a part is a dataclass
    return changed


def _choice(name: str) -> str:
    if name not in KINDS:
        raise ValueError(f"a sampler has no choice {name!r}; {suggestion(name, KINDS)}")
    return name
