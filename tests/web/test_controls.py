"""Fields made of the parts' declarations: whatever a part says of itself is there, and wrong texts are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

import elucidiff as ed
from elucidiff.plugins import use_plugins
from elucidiff.web.controls import Chosen, choices, filled, sampler_from
from elucidiff.web.request import MistakesError
from tests.nothing_left_behind import nothing_left_behind

PLUGIN = '''
from dataclasses import dataclass
from typing import Literal

import elucidiff as ed


@ed.part("solver", "careful")
@dataclass(frozen=True)
class Careful(ed.solvers.Solver):
    """Euler's method, damped.

    Args:
        damping: how much of a step is taken.
        mood: what for.
    """

    damping: float = ed.parts.setting(1.0, search=(0.5, 1.5))
    mood: Literal["calm", "bold"] = "calm"

    def __post_init__(self):
        if not 0 < self.damping <= 2:
            raise ValueError(f"damping is {self.damping:g}, but must be above 0 and at most 2")

    def step(self, ode, x, t, t_next, state=None):
        denoised = ode.denoise(x, t)
        return ed.solvers.StepResult(x + self.damping * (t_next - t) * ode.velocity(x, t, denoised), denoised)
'''


def test_every_part_and_setting_of_sampling_is_a_field() -> None:
    for choice in choices():
        kind = ed.sampling.sampler.KINDS[choice.name]
        declared = ed.parts.parts_of(kind)
        assert set(declared) == set(choice.options) - {"none"}
        for name, cls in declared.items():
            spelled = [each.name for each in ed.parts.settings(cls)]
            assert [field.name for field in choice.options[name].fields] == spelled
            assert choice.options[name].summary == ed.parts.summary(cls)


def test_only_what_a_sampler_may_do_without_can_be_left_out() -> None:
    assert [choice.name for choice in choices() if "none" in choice.options] == [
        "churn", "restarts", "guidance", "clip",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "",
        "solver=ipndm:order=3 steps=karras:n=12,rho=5,sigma_max=50",
        "solver=sa_solver:tau=0.5",
        "churn=churn:amount=30,sigma_min=0.05,sigma_max=50",
        "steps=trailing:betas=scaled_linear,zero_snr=false,whole=false guidance=guidance:weight=2 clip=none",
        "steps=levels:levels=80/10/1/0 restarts=none",
        "schedule=vp_fitted steps=vp:n=9 solver=euler",
    ],
)
def test_fields_and_samplers_are_each_others_inverses(text: str) -> None:
    sampler = ed.Sampler.parse(text)
    assert sampler_from(filled(sampler)) == sampler


@pytest.mark.parametrize("column", ["vp", "ve", "iddpm", "edm"])
def test_the_columns_of_the_paper_can_be_filled_in(column: str) -> None:
    sampler = ed.Sampler.from_table(column)
    assert sampler_from(filled(sampler)) == sampler


def test_a_plugins_part_has_its_fields_help_ranges_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "careful_plugin.py").write_text(PLUGIN)
    with nothing_left_behind(tmp_path, monkeypatch):
        use_plugins(["careful_plugin.py"])
        (solver,) = [choice for choice in choices() if choice.name == "solver"]
        damping, mood = solver.options["careful"].fields
        assert (damping.help, damping.search, damping.text) == ("How much of a step is taken.", (0.5, 1.5), "1")
        assert (mood.options, mood.text) == (("calm", "bold"), "calm")
        made = sampler_from({"solver": Chosen("careful", {"damping": "0.5", "mood": "bold"})})
        assert ed.parts.to_text(made.solver) == "careful:damping=0.5,mood=bold"
        with pytest.raises(MistakesError) as error:
            sampler_from({"solver": Chosen("careful", {"damping": "3"})})
        assert [each.field for each in error.value.mistakes] == ["solver.damping"]


@pytest.mark.parametrize(
    ("name", "option", "texts", "field", "told"),
    [
        ("solver", "ipndm", {"order": "x"}, "solver.order", "must be a whole number"),
        ("solver", "ipndm", {"order": "9"}, "solver.order", "order"),
        ("steps", "karras", {"rho": "a lot"}, "steps.rho", "must be a number"),
        ("steps", "karras", {"sigma_min": "3", "sigma_max": "2"}, "steps.sigma_min", "sigma_min"),
        ("steps", "levels", {}, "steps.levels", "needs a value"),
        ("clip", "clamp", {"limit": "0"}, "clip.limit", "must be a finite number > 0"),
        ("solver", "hein", {}, "solver", "did you mean 'heun'"),
    ],
)
def test_a_wrong_text_is_told_beside_its_field(
    name: str, option: str, texts: dict[str, str], field: str, told: str
) -> None:
    with pytest.raises(MistakesError) as error:
        sampler_from({name: Chosen(option, texts)})
    (mistake,) = error.value.mistakes
    assert mistake.field == field
    assert told in mistake.text


def test_all_wrong_fields_are_told_at_once() -> None:
    with pytest.raises(MistakesError) as error:
        sampler_from({
            "steps": Chosen("karras", {"n": "none", "rho": "x"}),
            "churn": Chosen("churn", {"amount": "-1"}),
        })  # fmt: skip
    assert [each.field for each in error.value.mistakes] == ["steps.n", "steps.rho", "churn.amount"]


def test_what_does_not_go_together_is_told_beside_what_was_added() -> None:
    chosen = {"solver": Chosen("rk45", {}), "churn": Chosen("churn", {"amount": "30"})}
    with pytest.raises(MistakesError) as error:
        sampler_from(chosen)
    (mistake,) = error.value.mistakes
    assert mistake.field == "churn"
    assert "cannot be used with churn" in mistake.text
