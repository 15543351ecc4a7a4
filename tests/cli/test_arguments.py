"""Mistakes on a command line are told in one line that says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from elucidiff.cli.arguments import parse


@dataclass(frozen=True)
class Options:
    """Example options."""

    model: str = "m"
    """The model folder."""
    batch_size: int = 16
    """Images in one call."""
    solver: Literal["heun", "dpmpp_2m", "dpmpp_3m"] | None = None
    """How a step is taken."""


def test_fields_and_defaults() -> None:
    assert parse(Options, ["--batch-size", "4"], prog="x") == Options(batch_size=4)
    assert parse(Options, [], prog="x", default=Options(model="other")) == Options(model="other")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--batch-siez", "4"], r"Unrecognized options: --batch-siez.*did you mean --batch-size\?"),
        (["--batch-size", "four"], r"--batch-size: invalid literal for int.*'four'"),
        (["--solver", "dpm++2m"], r"--solver 'dpm\+\+2m' is unknown; did you mean 'dpmpp_2m'\?"),
        (["--solver", "zzz"], r"--solver 'zzz' is unknown; known: dpmpp_2m, dpmpp_3m, heun \("),
        (["--batch-size"], r"Missing value for argument '--batch-size'"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        parse(Options, arguments, prog="elucidiff test")
    assert "\n" not in str(caught.value)
    assert "elucidiff test --help" in str(caught.value)
    assert capsys.readouterr() == ("", "")


def test_help_still_prints(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(Options, ["--help"], prog="elucidiff test")
    assert caught.value.code == 0
    assert "Images in one call." in capsys.readouterr().out
