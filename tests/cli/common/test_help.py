"""The page of --help: every flag once, in groups, with the parts there are, on a screen."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from elucidiff import parts
from elucidiff.cli.common.arguments import Names, flags_of, help_page, parse
from elucidiff.cli.sample import Options as SampleOptions


@dataclass(frozen=True)
class Inner:
    """What is inside."""

    depth: int = 3
    """How deep."""


@dataclass(frozen=True)
class Options:
    """Do something.

    In two paragraphs.
    """

    model: tyro.conf.Positional[Path]
    """The model folder."""
    other: tyro.conf.Positional[str | None] = None
    """Another."""
    labels: str | None = None
    """Classes (all)."""
    kind: Literal["a", "b"] = "a"
    """Which."""
    grid: bool = False
    """Draw it."""
    keep: bool = True
    """Keep it."""
    sizes: tuple[int, ...] = (1, 2)
    """Some."""
    metric: Annotated[str, Names("metric")] = "fid"
    """What is measured."""
    device: str = "auto"
    """Where."""
    flat: Annotated[Inner, tyro.conf.arg(name="")] = field(default_factory=Inner)
    nested: Inner = field(default_factory=lambda: Inner(5))


def test_every_flag_of_tyro_stands_there_with_its_text_and_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    page = help_page(Options, "elucidiff test")
    lines = page.splitlines()
    assert lines[0] == "usage: elucidiff test MODEL [OTHER] [options]"
    for line in (
        "  MODEL                     The model folder.",
        "  --labels TEXT             Classes (all).",
        "  --kind {a,b}              Which. [a]",
        "  --grid                    Draw it.",
        "  --no-keep                 Keep it.",
        "  --sizes N ...             Some. [1 2]",
        "  --depth N                 How deep. [3]",
        "  --nested.depth N          How deep. [5]",
    ):
        assert line in lines
    assert page.index("options:") < page.index("flat:") < page.index("nested:") < page.index("how to compute:")
    assert "  --device TEXT             Where. [auto]" in page[page.index("how to compute:") :]
    assert f"({', '.join(parts.parts_of('metric'))})" in " ".join(page.split())
    given = ["m", "--labels", "3", "--kind", "b", "--grid", "--no-keep", "--sizes", "4", "--metric", "kid",
             "--device", "cpu", "--depth", "1", "--nested.depth", "2"]  # fmt: skip
    assert {flag.name for flag in flags_of(Options) if flag.name} == {word for word in given if word[:2] == "--"}
    read = parse(Options, given, prog="x")
    assert (read.sizes, read.keep, read.flat, read.nested) == ((4,), False, Inner(1), Inner(2))


@pytest.mark.parametrize("columns", ["5", "0", "-3", "many", "9" * 30, "80"])
def test_no_line_is_wider_than_the_terminal(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    width = {"80": 80, "5": 40}.get(columns, 120)
    page = help_page(SampleOptions, "elucidiff sample")
    assert max(map(len, page.splitlines())) <= width


def test_sampling_fits_on_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    page = help_page(SampleOptions, "elucidiff sample")
    assert len(page.splitlines()) <= 65  # five of them examples
    for noise in ("None", "{None}", "default:"):
        assert noise not in page
    heads = [line for line in page.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert heads == ["Examples:", "what to draw:", "how to sample:", "how to compute:"]
    for name in parts.parts_of("solver"):
        assert name in page


@pytest.mark.parametrize("verb", ["sample", "evaluate", "curve", "search", "likelihood", "restore", "interpolate"])
def test_verbs_that_sample_spell_it_alike(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"elucidiff.cli.{verb}").run(["--help"])
    assert not ended.value.code
    assert "--plugin MODULE" in capsys.readouterr().out
