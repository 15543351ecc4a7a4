"""Mistakes on a command line are told in one line that says what to do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import pytest

from elucidiff.cli.common.arguments import parse


@dataclass(frozen=True)
class Options:
    """Example options."""

    model: str = "m"
    """The model folder."""
    batch_size: int = 16
    """Images in one call."""
    seed: int = 0
    """Of all."""
    processes: str = "auto"
    """A number, or auto."""
    solver: Literal["heun", "dpmpp_2m", "dpmpp_3m"] | None = None
    """How a step is taken."""


def test_fields_and_defaults() -> None:
    assert parse(Options, ["--batch-size", "4"], prog="x") == Options(batch_size=4)
    assert parse(Options, [], prog="x", default=Options(model="other")) == Options(model="other")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--batch-siez", "4"], r"there is no option --batch-siez; did you mean --batch-size\? \("),
        (["--batch-size", "four"], r"--batch-size: invalid literal for int.*'four'"),
        (["--solver", "dpm++2m"], r"--solver 'dpm\+\+2m' is unknown; did you mean 'dpmpp_2m'\?"),
        (["--solver", "zzz"], r"--solver 'zzz' is unknown; known: dpmpp_2m, dpmpp_3m, heun \("),
        (["--batch-size"], r"Missing value for argument '--batch-size'"),
        (["--batch-size", "1000001"], r"--batch-size is 1000001, but must be at most 1000000"),
        (["--batch-size", str(10**30)], r"--batch-size is a number of 31 digits, but must be at most 1000000"),
        (["--batch-size", "-" + "9" * 30], r"--batch-size is a number of 30 digits"),
        (["--seed", str(2**63)], r"--seed is 9223372036854775808, but must be at most 9223372036854775807"),
        (["--processes", "2,9999"], r"--processes is 9999, but must be at most 4096"),
        (["--processes", str(10**9)], r"--processes is 1000000000, but must be at most 4096"),
        (["--model", ""], r"the argument after --model is empty: give it a value"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        parse(Options, arguments, prog="elucidiff test")
    assert "\n" not in str(caught.value)
    parsed = "must be" not in says and "empty" not in says and "digits" not in says
    assert ("elucidiff test --help" in str(caught.value)) == parsed
    assert capsys.readouterr() == ("", "")


def test_help_still_prints(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(Options, ["--help"], prog="elucidiff test")
    assert caught.value.code == 0
    assert "Images in one call." in capsys.readouterr().out


@pytest.mark.parametrize("columns", ["5", "0", "-3", "many", "9" * 30])
def test_the_width_of_a_terminal_changes_no_mistake_and_breaks_no_help(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(ValueError, match=r"there is no option --batch-siez; did you mean --batch-size\?"):
        parse(Options, ["--batch-siez", "4"], prog="elucidiff test")
    with pytest.raises(SystemExit):
        parse(Options, ["--help"], prog="elucidiff test")
    assert "The model folder." in " ".join(capsys.readouterr().out.split())
    assert os.environ["COLUMNS"] == columns
