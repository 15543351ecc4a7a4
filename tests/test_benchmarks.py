"""Benchmarks are run by hand, so that what they import has to be looked at here, when names move."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("[!_]*.py")))
def test_what_a_benchmark_imports_is_there(name: str) -> None:
    found = importlib.import_module(f"benchmarks.{name}")
    assert found.__file__ == str(FOLDER / f"{name}.py")
