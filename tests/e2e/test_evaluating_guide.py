"""The Python program of docs/guides/evaluating.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "evaluating.md").read_text(encoding="utf-8")


def test_the_program_runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELUCIDIFF_DATA", str(tmp_path))
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(program.replace("runs/digits/model", str(trained / "model")), names)
    quality, evaluator, features = (names[name] for name in ("quality", "evaluator", "features"))
    assert features.shape == (200, 20)
    assert quality.count == 200
    assert {name: each.value for name, each in quality.metrics.items()} == evaluator.values(features)
    assert 0 <= quality.metrics["precision"].value <= 1
    # Frechet distances of few images are larger than they should be: half as many, more so.
    assert evaluator.values(features[:100])["fid"] > quality.metrics["fid"].value > 0
