"""The wheel and the sdist: built, installed into an empty environment, and used there without the extras.

The environment has links to the packages of this one, except to those of the extras.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff.examination import EXTRAS
from elucidiff.networks import MPUNetSettings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OF_EXTRAS = [package for package, _ in EXTRAS.values()] + [
    "onnx",
    "onnxscript",
    "efficientnet_lite_pytorch",
    "psycopg",
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel and an sdist, built from a copy of what git knows."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, names.split("\0")):
        if name.startswith(("src/", "pyproject", "README", "LICENSE", "CHANGELOG")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    call([sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(source)])
    return folder / "dist"


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel in it, and without the extras."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    call([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)])
    (packages,) = folder.glob("lib/python*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        name = entry.name.split("-")[0].lower()
        if name not in OF_EXTRAS and "elucidiff" not in name and not (packages / entry.name).exists():
            (packages / entry.name).symlink_to(entry)
    return python


def call(words: Sequence[str], cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == code, done.stderr + done.stdout
    return done


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")}
    known = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "src"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert held == {name.removeprefix("src/") for name in known.split()}


def test_the_version_comes_from_one_place(built: Path, python: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    assert wheel.name.split("-")[1] == ed.__version__
    with tarfile.open(sdist) as archive:
        assert archive.getnames()[0].split("/")[0] == f"elucidiff-{ed.__version__}"
    assert call([str(python), "-m", "elucidiff", "--version"]).stdout.strip() == f"elucidiff {ed.__version__}"


def test_what_needs_no_extra_works(python: Path, tmp_path: Path) -> None:
    where = call([str(python), "-c", "import elucidiff; print(elucidiff.__file__)"], tmp_path).stdout
    assert where.startswith(str(python.parents[1]))
    torch.manual_seed(0)
    network = ed.networks.MPUNet((1, 8, 8), settings=MPUNetSettings(8, (1,), 1, ()))
    ed.Denoiser(network, ed.preconditioning.EDM()).save(tmp_path / "model")
    call([str(python), "-m", "elucidiff", "sample", "model", "--seeds", "0-1", "--n", "3"], tmp_path)
    assert len(json.loads((tmp_path / "samples" / "samples.json").read_text())["samples"]) == 2
    told = call([str(python), "-m", "elucidiff", "doctor"], tmp_path).stdout
    assert told.count("not installed") == len(EXTRAS)


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["search", "model", "--reference", "digits", "--out", "found"], "search"),
        (["explore"], "explore"),
        (["evaluate", "model", "digits", "--extractor", "efficientnet-lite0"], "evaluate"),
        (["sample", "model", "--backend", "onnx", "--out", "other"], "onnx"),
        (["convert", "model", "model.onnx"], "onnx"),
        (["convert", "theirs", "ours"], "diffusers"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(python: Path, tmp_path: Path, words: list[str], extra: str) -> None:
    network = ed.networks.MPUNet((1, 8, 8), settings=MPUNetSettings(8, (1,), 1, ()))
    ed.Denoiser(network, ed.preconditioning.EDM()).save(tmp_path / "model")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text('{"_class_name": "UNet2DModel", "sample_size": 8}')
    (tmp_path / "theirs" / "scheduler_config.json").write_text('{"_class_name": "DDPMScheduler"}')
    (tmp_path / "theirs" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    said = call([str(python), "-m", "elucidiff", *words], tmp_path, code=2).stderr.strip()
    assert f"elucidiff[{extra}]" in said, said
    assert len(said.splitlines()) == 1, said
