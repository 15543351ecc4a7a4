"""A model that the user's own code makes: package.module:function, wherever a model is named."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elucidiff as ed
from elucidiff import plugins
from elucidiff.cli.main import main
from elucidiff.denoisers.opening import checksum, name_of, samplers_of

CODE = """
import torch
import elucidiff as ed

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x, t):
        return self.scale * x

def make():
    table = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    time = ed.adapters.DiscreteTime(table)
    return ed.adapters.AdaptedDenoiser(Net(), "epsilon", time, sample_shape=(1, 4, 4))

def known():
    network = ed.networks.UNet.ddpmpp(sample_shape=(1, 8, 8), base_channels=16, channel_multipliers=(1,))
    return ed.Denoiser(network, ed.preconditioning.EDM())

def bare():
    return lambda x, sigma: x / (1 + sigma**2)

def shaped():
    denoiser = lambda x, sigma: x / (1 + sigma**2)
    denoiser.sample_shape = (1, 4, 4)
    return denoiser

def nothing():
    pass

def fails():
    raise RuntimeError("out of\\nluck")

def cut():
    denoiser = lambda x, sigma: x[:, :, 1:]
    denoiser.sample_shape = (1, 4, 4)
    return denoiser
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file with functions that make models, in the working folder."""
    monkeypatch.chdir(tmp_path)
    name = f"mine_{os.path.basename(tmp_path)}".replace("-", "_")
    file = tmp_path / f"{name}.py"
    file.write_text(CODE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    named = dict(plugins._NAMED)
    yield file
    plugins._NAMED.clear()
    plugins._NAMED.update(named)
    plugins._import.cache_clear()
    sys.modules.pop(name, None)


def drawn(folder: Path) -> np.ndarray:
    return np.stack([np.array(Image.open(file)) for file in sorted(folder.glob("0*.png"))])


def test_a_function_is_a_model_as_module_and_as_file(code: Path) -> None:
    x = torch.full((1, 1, 4, 4), 2.0)
    for name in (f"{code.stem}:make", f"{code}:make", f"{code.name}:make"):
        denoiser = ed.load(name)
        sigma = denoiser.round_sigma(1.0).float()
        # epsilon = 0.5 s x with s^2 = 1 / (1 + sigma^2), so D = x - sigma s x / 2.
        expected = x - sigma * 0.5 * x / (1 + sigma**2).sqrt()
        torch.testing.assert_close(denoiser(x, sigma).detach(), expected)
        assert not denoiser.training
    assert ed.load(f"{code.stem}:shaped").sample_shape == (1, 4, 4)
    assert name_of(f"{code}:make") == f"{code.stem}.make"
    assert samplers_of(f"{code.stem}:make") == Path(f"{code.stem}.make-samplers")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("bare", "does not say its sample_shape.*AdaptedDenoiser"),
        ("nothing", "returned None, but must return a denoiser"),
        ("fails", "failed: RuntimeError: out of luck"),
        ("cut", r"has shape \(1, 1, 3, 4\) for x of shape \(1, 1, 4, 4\)"),
        ("mak", "no function 'mak'; did you mean 'make'"),
    ],
)
def test_what_is_no_model_is_one_line(
    code: Path, function: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=says):
        ed.load(f"{code.stem}:{function}")
    assert main(["sample", f"{code.stem}:{function}", "--out", "out"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not Path("out").exists()


def test_a_module_that_is_not_there(code: Path) -> None:
    with pytest.raises(ValueError, match="there is no plugin nowhere_at_all"):
        ed.load("nowhere_at_all:make")
    with pytest.raises(ValueError, match="there is no plugin"):
        ed.load("missing/file.py:make")


def test_a_file_that_is_there_is_no_function(code: Path) -> None:
    Path("a:b").write_text("words")
    with pytest.raises(ValueError, match="a text"):
        ed.load("a:b")


def test_the_checksum_is_of_code_and_weights(code: Path) -> None:
    first = checksum(f"{code.stem}:make")
    assert first == checksum(f"{code}:make")
    assert first != checksum(f"{code.stem}:known")


def test_converted_it_needs_its_module_named_again(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--seeds", "0-2", "--n", "4", "--device", "cpu", "--processes", "1"]
    assert main(["sample", f"{code}:make", "--out", "direct", *words]) == 0
    assert main(["convert", f"{code}:make", "model"]) == 0
    sys.modules.pop(code.stem, None)
    plugins._NAMED.clear()
    plugins._import.cache_clear()
    capsys.readouterr()
    assert main(["sample", "model", "--out", "refused", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"needs {code.stem}:make" in line
    assert f"--plugin {code.stem}" in line
    assert code.stem not in sys.modules
    assert main(["--plugin", str(code), "sample", "model", "--out", "again", *words]) == 0
    assert np.array_equal(drawn(Path("direct")), drawn(Path("again")))


def test_other_weights_of_the_folder_are_the_ones_used(code: Path) -> None:
    denoiser = ed.load(f"{code.stem}:make")
    with torch.no_grad():
        denoiser.network.scale.fill_(0.25)
    ed.interop.save(denoiser, "model")
    assert float(ed.load("model").network.scale.detach()) == 0.25


def test_known_parts_become_a_model_folder(code: Path) -> None:
    assert main(["convert", f"{code.stem}:known", "model"]) == 0
    assert Path("model/model.json").is_file()
    assert isinstance(ed.load("model"), ed.Denoiser)


@pytest.mark.slow
def test_processes_make_it_alike(code: Path) -> None:
    words = ["--seeds", "0-5", "--n", "4", "--device", "cpu", "--batch-size", "2"]
    for processes in ("1", "2"):
        assert main(["sample", f"{code.stem}:make", "--out", processes, "--processes", processes, *words]) == 0
    assert np.array_equal(drawn(Path("1")), drawn(Path("2")))
