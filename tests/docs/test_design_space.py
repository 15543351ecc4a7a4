"""The chapters on the design space: their code runs, says what they say, and their commands are ones that exist."""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from elucidiff.cli.main import main

CHAPTERS = Path(__file__).parents[2] / "docs" / "design-space"


def ran(chapter: str) -> dict[str, Any]:
    """The names that the chapter's code defines, and in `said` what it printed."""
    (code,) = re.findall(r"```python\n(.*?)```", (CHAPTERS / f"{chapter}.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, names)
    return {**names, "said": said.getvalue()}


def test_two_points_are_denoised_by_a_tanh() -> None:
    names = ran("denoiser")
    assert names["little"] == pytest.approx(math.tanh(0.5 / 0.01))
    assert names["much"] == pytest.approx(math.tanh(0.5 / 100))
    assert names["said"].strip() in (CHAPTERS / "denoiser.md").read_text(encoding="utf-8")


def test_vp_is_the_formula_of_the_table() -> None:
    names = ran("schedules")
    sigma = math.sqrt(math.exp(19.9 * 0.5**2 / 2 + 0.1 * 0.5) - 1)
    assert names["sigma"] == pytest.approx(sigma)
    assert names["scale"] == pytest.approx(1 / math.sqrt(1 + sigma**2))
    assert "EDM: 0.5, 1.0" in names["said"]


def test_heun_errs_less_than_euler() -> None:
    errors = ran("steps-and-solvers")["errors"]
    assert errors["heun"] < errors["euler"] / 2
    assert errors["euler"] < 0.1


def test_churn_is_in_the_text_of_the_sampler() -> None:
    assert ran("churn")["said"].strip() == "churn=churn:amount=30,sigma_min=0.01,sigma_max=1,noise_scale=1.007"


def test_coefficients_of_the_preconditioning() -> None:
    said = ran("preconditioning")["said"].splitlines()
    assert "c_skip 0.500, c_out 0.354 (VP -0.500)" in said[1]
    assert "c_skip 0.000, c_out 0.500 (VP -80.000)" in said[2]


@pytest.mark.parametrize("chapter", ["training-noise", "augmentation"])
def test_code_prints_what_the_chapter_says(chapter: str) -> None:
    text = (CHAPTERS / f"{chapter}.md").read_text(encoding="utf-8")
    assert f"It prints `{ran(chapter)['said'].strip()}`" in text


@pytest.mark.slow
def test_every_command_has_the_flags_it_is_given() -> None:
    texts = [path.read_text(encoding="utf-8") for path in CHAPTERS.glob("*.md")]
    commands = [
        shlex.split(line)
        for text in texts
        for line in re.findall(r"^    .*?elucidiff ([a-z].*)$", text, re.MULTILINE)
    ]
    assert len(commands) >= 16
    helped: dict[tuple[str, ...], str] = {}
    for verb, *words in commands:
        about = (verb, words[0]) if verb in ("train", "figure", "data") else (verb,)
        if about not in helped:
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
                main([*about, "--help"])
            helped[about] = said.getvalue()
        for flag in (word for word in words if word.startswith("--")):
            assert flag in helped[about], f"{about} has no {flag}"
