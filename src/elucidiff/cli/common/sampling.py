"""The choices of a sampler on the command line: the one declaration that all verbs share."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from elucidiff.cli.common.arguments import Names
from elucidiff.denoisers.base import DenoiserLike
from elucidiff.sampling.encoding import check_follows_ode
from elucidiff.sampling.sampler import KINDS, Sampler, SamplerChoice, parse_choice
from elucidiff.sampling.saved_samplers import load_named, names_beside


@dataclass(frozen=True)
class SamplingChoices:
    """How to sample. A part is written NAME or NAME:SETTING=VALUE,...; `elucidiff parts` lists
    them, and `elucidiff parts solver ipndm` explains one."""

    sampler: str | None = None
    """One beside the model, such as fast, or its path; or in a text: "heun steps=karras:n=8"."""
    any_model: bool = False
    """Take --sampler even if it was made for other weights, as of an earlier checkpoint."""
    table: Literal["vp", "ve", "iddpm", "edm"] | None = None
    """A column of Table 1 of Karras et al. 2022 for what is left out (edm, or the model's way)."""
    n: int | None = None
    """Number of steps (18)."""
    steps: Annotated[str | None, Names("steps")] = None
    """Spacing of noise levels, and their range, such as karras:rho=5,sigma_max=50."""
    schedule: Annotated[str | None, Names("schedule")] = None
    """sigma(t) and s(t), the curve that the solver follows."""
    solver: Annotated[str | None, Names("solver")] = None
    """How a step is taken, such as heun, dpmpp_2m or ipndm:order=3."""
    churn: str | None = None
    """S_churn, and where noise is added: 30,sigma_min=0.01,sigma_max=1,noise_scale=1.007."""
    restarts: str | None = None
    """A part of the run to repeat with fresh noise, such as 2,sigma_min=0.06,sigma_max=0.3."""
    guidance: str | None = None
    """How far to lead away from the unconditional model or --guide, and where: 2,sigma_max=5."""
    clip: Annotated[str | None, Names("clip")] = None
    """How denoised images are held in range: clamp:limit=2, none."""
    guide: Path | None = None
    """A worse model of the same data, a smaller or an earlier one, to lead samples away from."""

    @property
    def given(self) -> list[str]:
        """The flags that were used."""
        return [entry.name for entry in fields(self) if getattr(self, entry.name) not in (None, False)]

    @property
    def _leaves_it_to_the_model(self) -> bool:
        """True if nothing is chosen that a model has a usual way for, nor anything that this way may not go with."""
        way = (self.sampler, self.table, self.steps, self.schedule, self.solver, self.churn, self.restarts)
        return all(choice is None for choice in way)

    def choice(self, model: Path) -> SamplerChoice:
        """The choice, for functions of the library that open the model; see :meth:`chosen` for what it raises."""
        found = self.chosen(model)  # wrong flags are found before the model is opened
        return self.of_model if self._leaves_it_to_the_model else found

    def of_model(self, denoiser: DenoiserLike) -> Sampler:
        """The sampler for a model that is open, where what it says itself is the way to sample from it."""
        return self.chosen(usual=Sampler.usual(denoiser))

    def chosen(self, model: Path | None = None, usual: Sampler | None = None) -> Sampler:
        """The sampler: what was given, in place of the choices of the table's column.

        Args:
            model: the model folder, beside which samplers may be kept.
            usual: what is done where nothing else is asked for, down to single settings, instead of that column.

        Raises:
            ValueError: a part is unknown, a flag has no effect beside the others, or a value is out of its range; or
                there is no sampler of the name that was asked for, or it is for another model.
            OSError: that sampler cannot be read.
        """
        parts = {name: getattr(self, name) for name in KINDS if getattr(self, name) is not None}
        if self.sampler is not None and (saved := self._saved(model)):
            if others := [name for name in self.given if name not in ("sampler", "any_model", "guide")]:
                raise ValueError(
                    f"--{others[0]} would have no effect with --sampler {self.sampler}, which settles it: "
                    "leave one of them out"
                )
            return load_named(saved, self.sampler, any_model=self.any_model).sampler
        if self.any_model:
            raise ValueError("--any-model would have no effect without --sampler NAME")
        base = usual if usual is not None and self.table is None else Sampler.from_table(self.table or "edm")
        if self.sampler is not None:
            if self.table is not None:
                raise ValueError("--table would have no effect with --sampler: leave one of them out")
            base = Sampler.parse(self.sampler, usual)
        sampler = replace(
            base,
            **{name: parse_choice(name, text, usual and getattr(usual, name)) for name, text in parts.items()},
        )
        if self.n is None:
            return sampler
        sampler = sampler.with_settings({"steps.n": self.n})
        if sampler.without_effect(["steps.n"]):
            raise ValueError(f"--n would have no effect with {sampler.to_text()}, which chooses its own steps")
        return sampler

    def both_ways(self, model: Path, usual: Sampler) -> Sampler:
        """:meth:`chosen` for what follows the model's own ODE, from noise to data and back.

        Raises:
            ValueError: there are choices that do more.
        """
        sampler = self.chosen(model, usual)
        check_follows_ode(sampler)
        if self.guide is not None:
            raise ValueError("--guide leads away from what the model knows: leave it out")
        return sampler

    def _saved(self, model: Path | None) -> Path | None:
        """The model folder if ``--sampler`` names one that is kept, not a text."""
        assert self.sampler is not None
        if self.sampler.endswith(".json") and model is not None:
            return model
        if any(mark in self.sampler for mark in "=: ") or model is None:
            return None
        if self.sampler in names_beside(model) or not _is_solver(self.sampler):
            return model
        return None


def _is_solver(name: str) -> bool:
    try:
        Sampler(solver=name)
    except ValueError:
        return False
    return True
