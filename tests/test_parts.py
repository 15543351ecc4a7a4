"""Parts: declared once, and read from text and plain data as they were written."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import elucidiff as ed
from elucidiff import parts
from elucidiff.cli.main import main
from elucidiff.design.steps import Steps
from elucidiff.solvers import Heun, Solver, StepResult

finite = st.floats(allow_nan=False, allow_infinity=False)


@parts.part("solver", "every_type")
@dataclass(frozen=True)
class EveryType(Solver):
    """A solver with a setting of every type, for :class:`.Heun` to stand in.

    Args:
        number: any,
            over two lines.
        count, flag: two at once.
    """

    number: float = parts.setting(0.5, search=(0.1, 10.0), log=True)
    count: int = 3
    flag: bool = False
    word: str = "plain"
    choice: Literal["left", "right"] = "left"
    maybe: float | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    many: tuple[int, ...] = ()
    inner: Solver = Heun()  # noqa: RUF009 (frozen)

    def step(self, ode: Any, x: Any, t: float, t_next: float, state: Any = None) -> StepResult:
        """That of ``inner``."""
        return self.inner.step(ode, x, t, t_next, state)


every_type = st.builds(
    EveryType,
    number=st.floats(allow_nan=False),
    count=st.integers(),
    flag=st.booleans(),
    word=st.text(st.characters(codec="utf-8")),
    choice=st.sampled_from(["left", "right"]),
    maybe=st.none() | finite,
    pair=st.tuples(finite, finite),
    many=st.lists(st.integers()).map(tuple),
    inner=st.sampled_from([Heun(), ed.solvers.RK2(alpha=0.25), ed.solvers.IPNDM(order=2)]),
)


@given(every_type)
def test_text_and_plain_form_are_inverses(value: EveryType) -> None:
    assert parts.parse("solver", parts.to_text(value)) == value
    plain = json.loads(json.dumps(parts.to_plain(value), allow_nan=False))
    assert parts.from_plain("solver", plain) == value


@given(every_type, every_type)
def test_different_parts_are_written_differently(one: EveryType, other: EveryType) -> None:
    assert (parts.to_text(one) == parts.to_text(other)) == (one == other)


@given(st.data())
def test_a_part_within_a_part_within_a_sampler(data: st.DataObject) -> None:
    inner = data.draw(every_type)
    sampler = ed.Sampler(solver=EveryType(inner=EveryType(word=inner.word, inner=inner)))
    assert ed.Sampler.parse(sampler.to_text()) == sampler
    assert ed.Sampler.from_plain(sampler.to_plain()) == sampler


def test_every_part_of_ours_is_written_and_read_and_has_help() -> None:
    for kind in parts.KINDS:
        for name, cls in parts.parts_of(kind).items():
            assert parts.find(kind, name) is cls
            if not cls.__module__.startswith("elucidiff"):
                continue
            assert parts.summary(cls), (kind, name)
            for each in parts.settings(cls):
                assert each.help, (kind, name, each.name)
            if all(each.default is not MISSING or each.default_factory is not MISSING for each in fields(cls)):
                value = cls()
                assert parts.parse(kind, parts.to_text(value)) == value
                assert parts.from_plain(kind, parts.to_plain(value)) == value


def test_what_is_known_of_a_setting() -> None:
    number, count, flag, *_ = parts.settings(EveryType)
    assert (number.name, number.type, number.default) == ("number", float, 0.5)
    assert (number.help, number.search) == ("any, over two lines.", (0.1, 10.0, True))
    assert (count.help, flag.help) == ("two at once.", "two at once.")
    assert parts.summary(EveryType) == "A solver with a setting of every type, for Heun to stand in."


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("solver", "ipndm:2", ed.solvers.IPNDM(order=2)),
        ("solver", " rk2 : alpha = 0.5 ", ed.solvers.RK2(alpha=0.5)),
        ("churn", "30", ed.Churn(30)),
        ("churn", "-0", ed.Churn(0)),
        ("churn", "30,sigma-min=.01", ed.Churn(30, sigma_min=0.01)),
        ("churn", "churn:30,noise_scale=1.007", ed.Churn(30, noise_scale=1.007)),
        ("steps", "levels:80/10/1/0", ed.steps.Levels((80.0, 10.0, 1.0, 0.0))),
    ],
)
def test_spellings(kind: str, text: str, value: object) -> None:
    assert parts.parse(kind, text) == value


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("solvre", "heun", r"there is no kind of part 'solvre'; did you mean 'solver'\?"),
        ("solver", "huen", r"no solver 'huen'; did you mean 'heun'\? .*--plugin MODULE"),
        ("solver", "ipndm:ordre=3", r"solver ipndm has no setting 'ordre'; did you mean 'order'\?"),
        ("solver", "heun:order=3", r"solver heun has no settings, but 'order' is set"),
        ("solver", "ipndm:order=three", r"order of solver ipndm is 'three', but must be a whole number"),
        ("solver", "ipndm:order=2,order=3", r"sets order twice"),
        ("solver", "ipndm:2,3", r"write '3' as a setting, NAME=VALUE"),
        ("solver", "ipndm:order=9", r"order"),
        ("solver", "every_type:flag=perhaps", r"flag of solver every_type is 'perhaps', but must be true or false"),
        ("solver", "every_type:choice=lefd", r"choice of .*; did you mean 'left'\?"),
        ("solver", "every_type:pair=1", r"pair of solver every_type takes 2 values, written A/B"),
        ("solver", "every_type:inner=(huen)", r"no solver 'huen'"),
        ("churn", "nan", r"no churn 'nan'|must be a number"),
        ("churn", "-3", r"amount|S_churn"),
        ("steps", "karras:n=0", r"n"),
    ],
)
def test_mistakes_are_one_line(kind: str, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        parts.parse(kind, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "it has no type"),
        ("heun", "does not describe a solver"),
        ({"type": "nobodys"}, r"no solver 'nobodys'.*--plugin MODULE"),
        ({"type": "ipndm", "order": 2.5}, "order of solver ipndm is 2.5, but must be a whole number"),
        ({"type": "ipndm", "order": True}, "must be a whole number"),
        ({"type": "ipndm", "ordre": 2}, "did you mean 'order'"),
        ({"type": "every_type", "number": "nan"}, "number of solver every_type is 'nan', but must be a number"),
    ],
)
def test_plain_forms_that_describe_nothing(values: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parts.from_plain("solver", values)


def test_an_object_refuses_values_of_a_wrong_type() -> None:
    for wrong, says in (("3", "order of solver ipndm is '3', but must be a whole number"), (2.5, "2.5")):
        with pytest.raises(TypeError, match=says):
            ed.solvers.IPNDM(order=wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"is the class Heun: give an object, such as Heun\(\)"):
        parts.resolve("solver", Heun)
    with pytest.raises(TypeError, match="must be a Solver, or a text"):
        parts.resolve("solver", 3)


def test_what_cannot_be_registered() -> None:
    with pytest.raises(ValueError, match="'Own name' cannot name a solver"):
        parts.part("solver", "Own name")
    with pytest.raises(ValueError, match=r"there is a solver 'heun' already, elucidiff\.solvers"):
        parts.part("solver", "heun")(EveryType)
    with pytest.raises(TypeError, match="must be a frozen dataclass"):

        @parts.part("solver", "not_frozen")
        class NotFrozen(Solver):
            pass

    @dataclass(frozen=True)
    class Other(Heun):
        pass

    with pytest.raises(ValueError, match=r"Other has no name to be written by: register it with @ed\.part"):
        parts.to_text(Other())


def test_the_verb_lists_kinds_parts_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> str:
        assert main(["parts", *words]) == 0
        return capsys.readouterr().out

    kinds = said()
    for kind in parts.KINDS:
        assert f"  {kind.replace(' ', '-')} " in kinds
    solvers = said("solver")
    for name, cls in parts.parts_of("solver").items():
        assert f"  {name} " in solvers
        assert parts.summary(cls) in solvers
    karras = said("steps", "karras")
    for entry in fields(ed.steps.Karras):
        assert f"  {entry.name} (" in karras
    assert "rho (number; default 7; a search tries 3 to 15)" in karras
    (written,) = [line for line in karras.splitlines() if line.startswith("Written: ")]
    assert isinstance(parts.parse("steps", written.removeprefix("Written: ")), Steps)
    assert said("training", "noise") == said("training-noise") == said("training noise")


def test_the_verb_tells_a_mistake_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        (["solvre"], "did you mean 'solver'?"),
        (["solver", "huen"], "there is no solver 'huen'; did you mean 'heun'? (a part of your own needs its module"),
        (["solver", "heun", "more"], "not 3 words"),
        (["--kind", "solver"], "parts has no option '--kind'"),
    ):
        assert main(["parts", *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert says in err


def test_infinity_has_a_form_in_json() -> None:
    churn = ed.Churn(3)
    assert math.isinf(churn.sigma_max)
    assert parts.to_plain(churn)["sigma_max"] == "inf"
