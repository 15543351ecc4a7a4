"""Every verb's help has examples, and each of them is a command line that the verb reads."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from elucidiff.cli import ablate, data, steps
from elucidiff.cli.common import arguments
from elucidiff.cli.main import VERBS, main

PAGES = [
    *([verb] for verb in VERBS),
    *(["data", action] for action in data.ACTIONS),
    *(["steps", action] for action in steps.ACTIONS),
    *(["ablate", table] for table in ablate.ACTIONS),
    ["figure", "trajectory"],
    ["figure", "saved"],
    ["train", "photos"],
    ["train", "fashion-mnist"],
]
WITH_ACTIONS = ("data", "steps", "ablate")
"""Verbs whose own page is a list of actions, each of which has examples."""


class Read(BaseException):
    """Raised in place of running: the options that a command line makes."""


def examples(page: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main([*page, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    if "Examples:" not in lines:
        return []
    rest = lines[lines.index("Examples:") + 1 :]
    text = "\n".join(rest[: rest.index("") if "" in rest else None])
    return [line.strip() for line in text.replace(" \\\n", " ").splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_examples_are_read(
    page: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    found = examples(page, capsys)
    assert found or page[0] in WITH_ACTIONS, f"elucidiff {' '.join(page)} --help has no examples"

    def read(options: Any) -> None:
        raise Read(options)

    monkeypatch.setattr(arguments, "_refuse_absurd", read)
    for line in found:
        words = shlex.split(line.partition(" > ")[0])
        assert words[0] == "elucidiff"
        assert words[1] in VERBS
        if "config.yaml" in line or "--plugin" in words or words[1] == "parts":
            continue  # these look at files or modules first
        with pytest.raises(Read) as caught:
            main(words[1:])
        sampling = getattr(caught.value.args[0], "sampling", None)
        if sampling is not None and sampling.sampler is None:
            sampling.chosen()  # parts that exist, with settings within their ranges


def test_an_example_that_is_wrong_would_be_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "runs/demo/model", "--gridd"]) == 2
    assert "there is no option --gridd; did you mean --grid?" in capsys.readouterr().err
