"""The files of docs/extending.md, as a stranger would have them, and the command line in its own process."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import elucidiff as ed
from elucidiff import parts, plugins
from elucidiff.cli.main import main
from tests.nothing_left_behind import nothing_left_behind
from tests.sampling.tiny_model import save_tiny_model

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, flags=re.DOTALL))
"""The content of each file on the page, by its name."""

Run = Callable[..., str]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the files, outside the package, to work in; no part or plugin is left behind."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    with nothing_left_behind(tmp_path, monkeypatch):
        yield tmp_path


@pytest.fixture
def model(files: Path) -> Path:
    """A model folder with a tiny network for 4x4 images."""
    return save_tiny_model(files / "model")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``elucidiff`` with some words; what it printed, if its exit code is as expected."""

    def run(*words: object, code: int = 0) -> str:
        found = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert found == code, err
        return err if code else out + err

    return run


def use(file: str) -> None:
    """Import a file of the page, as ``import`` would."""
    plugins.use_plugins([file])


def forget(file: str) -> None:
    """Be a process that was not told of it."""
    name = Path(file).stem
    for found in parts.registry.PARTS.values():
        for key in [key for key, cls in found.items() if cls.__module__ == name]:
            del found[key]
    del sys.modules[name]
    plugins._import.cache_clear()
    os.environ.pop(plugins.VARIABLE, None)


def exact() -> ed.ideal.GaussianMixture:
    """The exact denoiser of N(0.3, 0.5^2)."""
    import torch

    return ed.ideal.GaussianMixture(torch.tensor([[0.3]]), torch.tensor([[[0.25]]]), torch.tensor([1.0]))
