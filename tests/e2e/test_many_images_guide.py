"""The guide to many images does what it says: its commands and the code that reads their output are run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from elucidiff.cli.sample import Options
from tests.e2e.conftest import Run
from tests.e2e.test_torchrun import ENVIRONMENT

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "many-images.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"<!-- runs on a CPU -->\n```bash\n(.*?)```", GUIDE, re.DOTALL)


def code(title: str) -> str:
    """The code of the guide below a comment."""
    (found,) = re.findall(rf"<!-- {title} -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
    return str(found)


def test_one_machine(elucidiff: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(COMMANDS[0].replace("runs/digits/model", str(trained / "model")))
    assert program == "elucidiff"
    assert elucidiff(*words, "--n", "3", "--device", "cpu").returncode == 0
    shown = re.findall(r"^      (\S+)", GUIDE, re.MULTILINE)
    assert shown == ["job.json", "000000.tar", "000001.tar", "records/", "log.txt"]
    assert sorted(path.name for path in Path("samples").iterdir()) == sorted(name.rstrip("/") for name in shown)
    tars: dict[str, Any] = {}
    exec(code("reads the tars"), tars)
    assert list(tars["images"]) == list(tars["labels"]) == list(range(200))
    again = [word.replace("tar", "zip") for word in words]
    assert elucidiff(*again, "--n", "3", "--device", "cpu", "--overwrite").returncode == 0
    assert sorted(path.name for path in Path("samples").glob("0*")) == ["000000.zip", "000001.zip"]
    zips: dict[str, Any] = {}
    exec(code("reads the zips"), zips)
    assert len(zips["data"]) == 100
    np.testing.assert_array_equal(np.asarray(zips["image"])[0], tars["images"][0])
    assert int(np.asarray(zips["label"].tolist()).argmax()) == tars["labels"][0]
    assert Image.fromarray(tars["images"][0]).size == (8, 8)


def test_every_flag_exists() -> None:
    flags = {name.replace("_", "-") for name in Options.__dataclass_fields__}
    ours = set(re.findall(r"--([a-z][a-z-]+)", re.sub(r"torchrun .*?-m -- elucidiff", "", GUIDE, flags=re.DOTALL)))
    assert ours - flags <= {"max-restarts", "array", "data"}


@pytest.mark.slow
def test_torchrun(trained: Path, tmp_path: Path) -> None:
    words = shlex.split(COMMANDS[1].replace("runs/digits/model", str(trained / "model")))
    done = subprocess.run(
        [*words, "--n", "3"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("200 samples in samples") == 1
    alone = shlex.split(COMMANDS[0].replace("runs/digits/model", str(trained / "model")))
    alone = [sys.executable, "-m", *alone, "--n", "3", "--out", "alone", "--device", "cpu"]
    subprocess.run(alone, cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=300, capture_output=True)
    for name in ("000000.tar", "000001.tar", "job.json"):
        assert (tmp_path / "samples" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
