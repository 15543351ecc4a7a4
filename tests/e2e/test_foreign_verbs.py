"""Every verb takes a foreign model by the same words: one of epsilon, of a flow, of v at discrete times, of code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elucidiff import plugins
from tests.e2e.conftest import Run
from tests.interop.closed_form import KINDS, Blurred

CODE = """
from tests.interop.closed_form import Blurred, foreign

EXACT = Blurred(count=100)

def epsilon():
    return foreign("epsilon table", EXACT)

def flow():
    return foreign("flow", EXACT)

def v():
    return foreign("v table", EXACT)

def plain():
    return EXACT
"""
MODELS = ("epsilon", "flow", "v")
SMALL = ("--device", "cpu")

COMMANDS: dict[str, tuple[str, ...]] = {
    "sample": ("sample", "MODEL", "--seeds", "0-3", "--n", "4", "--processes", "1", "--out", "out", *SMALL),
    "steps optimise": (
        "steps", "optimise", "MODEL", "--nfe", "4", "--solver", "ipndm:order=2", "--seeds", "0-3",
        "--fresh-seeds", "10-13", "--max-minutes", "0.05", *SMALL,
    ),
    "search": (
        "search", "MODEL", "--over", "n=4:6", "--metric", "error", "--trials", "2", "--seeds", "0-3",
        "--fresh-seeds", "10-17", "--out", "out", *SMALL,
    ),
    "curve": (
        "curve", "MODEL", "digits", "--nfe", "4", "--solvers", "ipndm:order=2", "--metrics", "truncation_error",
        "--blocks", "1", "--images", "4", "--exact-images", "4", "--out", "out", *SMALL,
    ),
    "evaluate": (
        "evaluate", "MODEL", "digits", "--extractor", "pca-5", "--metrics", "fid", "--seeds", "0-23", "--n", "4",
        "--out", "out", *SMALL,
    ),
    "likelihood": ("likelihood", "MODEL", "digits", "--images", "2", "--solver", "heun", "--n", "6", "--out",
                   "out/l.json", *SMALL),
    "restore": (
        "restore", "MODEL", "PICTURE", "--upscale", "2", "--seeds", "0-1", "--n", "4", "--out", "out", *SMALL,
    ),
    "interpolate": ("interpolate", "MODEL", "--seeds", "0,1", "--frames", "3", "--n", "4", "--out", "out", *SMALL),
    "ablate": (
        "ablate", "sampling", "MODEL", "--data", "digits", "--nfe", "7", "--seeds", "1", "--images", "24",
        "--exact-images", "4", "--extractor", "pca-5", "--out", "out", *SMALL,
    ),
    "figure trajectory": (
        "figure", "trajectory", "MODEL", "--seeds", "0-1", "--n", "4", "--out", "out/f.png", *SMALL,
    ),
    "figure step-errors": (
        "figure", "step-errors", "MODEL", "--n", "4", "--rho", "3,7", "--seeds", "0-3", "--out", "out/f.png", *SMALL,
    ),
    "figure loss-per-sigma": (
        "figure", "loss-per-sigma", "MODEL", "digits", "--images", "8", "--levels", "4", "--out", "out/f.png", *SMALL,
    ),
    "figure strips": ("figure", "strips", "MODEL", "digits", "--images", "2", "--out", "out/f.png", *SMALL),
    "figure repeated-churn": ("figure", "repeated-churn", "MODEL", "digits", "--out", "out/f.png", *SMALL),
    "data inspect": ("data", "inspect", "digits", "--model", "MODEL", "--out", "out", *SMALL),
    "convert": ("convert", "MODEL", "out"),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the code, and a picture."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "models_of_mine.py").write_text(CODE)
    Image.fromarray(np.full((8, 8), 90, dtype=np.uint8)).save(folder / "picture.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "verb"),
    [
        *((m, v) for m in MODELS for v in COMMANDS),
        ("plain", "sample"),
        ("plain", "figure strips"),
        ("plain", "convert"),
    ],
)
def test_every_verb_takes_it(
    elucidiff: Run, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    names = {"MODEL": f"{place / 'models_of_mine.py'}:{model}", "PICTURE": str(place / "picture.png")}
    (tmp_path / "out").mkdir() if any("out/" in word for word in COMMANDS[verb]) else None
    done = elucidiff(*(names.get(word, word) for word in COMMANDS[verb]))
    assert done.returncode == 0, done.stderr
    if verb == "sample":
        told = json.loads((tmp_path / "out" / "samples.json").read_text())
        assert told["nfe"]["per_sample_mean"] == (7 if model == "plain" else 4)
        if model == "plain":
            return  # Heun's method is not for seven evaluations
        levels = np.stack([np.array(Image.open(file)) for file in sorted((tmp_path / "out").glob("0*.png"))])
        # The data go from -0.6 to 0.6: 51 to 204 of 255, give or take their noise of 13.
        assert 30 < np.percentile(levels, 1) < np.percentile(levels, 99) < 225
    if verb == "convert":
        assert json.loads((tmp_path / "out" / "own-code.json").read_text())["made_by"] == f"models_of_mine:{model}"


def test_the_kinds_are_there() -> None:
    assert {"epsilon table", "flow", "v table"} <= set(KINDS)
    assert Blurred(count=4).sample_shape == (1, 8, 8)
