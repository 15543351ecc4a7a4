"""What ``elucidiff doctor`` says of a machine, on machines that are made up."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from elucidiff import examination
from elucidiff.cli.main import main
from elucidiff.examination import Finding, examine


def found(subject: str) -> Finding:
    return next(finding for finding in examine() if finding.subject == subject)


def test_every_extra_is_looked_at() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert set(examination.EXTRAS) == set(project["optional-dependencies"]) - {"dev", "docs"}
    for extra, (package, _) in examination.EXTRAS.items():
        wanted = " ".join(project["optional-dependencies"][extra]).replace("-", "_")
        assert package in wanted, extra


def test_an_extra_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    hidden: Callable[..., Any] = lambda name, *rest: None if name == "optuna" else real(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    finding = found("extra search")
    assert finding.found.startswith("not installed")
    assert finding.advice == "pip install 'elucidiff[search]'"
    assert finding.ok


def test_more_threads_than_cores_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "physical_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    finding = found("threads")
    assert not finding.ok
    assert "OMP_NUM_THREADS=2" in finding.advice
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert found("threads").ok


def test_little_memory_and_disk_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "available_memory", lambda: 1 << 30)
    assert found("memory").found == "1.0 GiB free"
    assert not found("memory").ok
    monkeypatch.setattr(examination.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 3 << 30}))
    assert found("disk").found.startswith("3.0 GiB free")
    assert not found("disk").ok


def test_no_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(examination.shutil, "which", lambda name: None)
    assert found("C++ compiler") == Finding(
        "C++ compiler",
        "none",
        "install g++ for `--compile` and `--backend compile`, which make long runs faster",
        ok=False,
    )


def test_the_verb_prints_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[2:].split("  ")[0] for line in lines if not line.lstrip().startswith("->")] == [
        finding.subject for finding in examine()
    ]


def test_the_program_alone_says_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "elucidiff demo" in said
    assert "likelihood" in said
