"""The programs of docs/library.md run as they stand there, and print what they say."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest
import torch

from elucidiff import parts

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"## ([^\n]*)\n.*?```python\n(.*?)```", PAGE, flags=re.DOTALL))

SAYS = {
    "Sample a model": r"torch.Size\(\[16, 1, 8, 8\]\) 12 evaluations each",
    "A schedule of your own": r"on another way: 0\.\d+ apart",
    "Your own network in your own loop": r"radius (0\.9|1\.0)\d",
    "The same with `train`": r"loss [01]\.\d+; samples \(4, 1, 8, 8\)",
    "One or two evaluations": r"1 evaluations: \(16, 1, 8, 8\)\n2 evaluations: \(16, 1, 8, 8\)",
    "Guidance": r"weight 1\.5: \d+ evaluations, .*\nweight 2: \d+ evaluations.*\nweight 3",
    "An ablation": r"euler +6 evaluations: [\d.]+ \+- [\d.]+\nheun +11 evaluations: .*\nipndm.*\ndpmpp_2m.*\nheun c",
    "A curve and an ablation with error bars": r"(?s)5 evaluations, block 0: [\d.]+\n.* 9 evaluations, block 1: .*"
    r"`edm`.*runs/curve/fid.png runs/curve/fid.svg",
    "Restored pictures, ways between samples, likelihoods, samplers of a model's own": r"4 pictures .* to 0\.\d+\n"
    r"5 frames, 8 evaluations each; half-way the label is \[3, 8\]\n"
    r"\d\.\d bits/dim over 4 held-out images\nfive: error 0\.\d+, 0\.\d+ with",
}


@pytest.mark.parametrize("name", SAYS)
def test_the_program_runs(
    name: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained / "model", "model")  # beside which programs may keep something
    program = re.sub(r"runs/(demo|small)/model", "model", PROGRAMS[name])
    torch.manual_seed(0)
    before = set(parts.registry.PARTS["network"])
    try:
        Path("program.py").write_text(program)
        runpy.run_path("program.py", run_name="program")
    finally:
        for added in set(parts.registry.PARTS["network"]) - before:
            if not parts.registry.PARTS["network"][added].__module__.startswith("elucidiff"):
                del parts.registry.PARTS["network"][added]
    assert re.search(SAYS[name], capsys.readouterr().out)


def test_all_programs_are_run() -> None:
    assert set(PROGRAMS) == set(SAYS)
    assert len(re.findall("```python", PAGE)) == len(SAYS)
