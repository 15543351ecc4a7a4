"""Models of other formats are opened by what is in them, wherever a model is named."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import elucidiff as ed
from elucidiff import parts
from elucidiff.cli.main import main
from elucidiff.denoisers.opening import Format, checksum, is_model, recognised, samplers_of
from tests.golden_files import GOLDEN
from tests.interop.diffusers.folders import pipeline

SNAPSHOT = GOLDEN / "m_edm2/cond_latent.pkl"


@pytest.fixture
def two_numbers() -> Iterator[None]:
    """A format of a line of text: mean and standard deviation."""

    @parts.part("format", "two_numbers")
    @dataclass(frozen=True)
    class TwoNumbers(Format):
        """A Gaussian."""

        def recognises(self, path: Path) -> bool:
            return path.is_file() and path.read_bytes()[:9] == b"gaussian "

        def load(self, path: Path) -> ed.Denoiser:
            _, std = map(float, path.read_text().split()[1:])

            class Zero(torch.nn.Module):
                def forward(self, x: torch.Tensor, *_: object) -> torch.Tensor:
                    return torch.zeros_like(x)

            return ed.Denoiser(Zero(), ed.preconditioning.EDM(sigma_data=std))

    yield
    del parts.registry.PARTS["format"]["two_numbers"]


def test_a_snapshot_is_recognised_by_content(tmp_path: Path) -> None:
    plain = tmp_path / "renamed"
    plain.write_bytes(SNAPSHOT.read_bytes())
    assert parts.to_text(recognised(plain)) == "nvlabs"
    ours, theirs = ed.load(plain), ed.interop.nvlabs.load(SNAPSHOT)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
    assert checksum(plain) == checksum(SNAPSHOT)


def test_nothing_else_is(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.ones(2)}, tmp_path / "plain.safetensors")
    torch.save({"conv.weight": torch.ones(2)}, tmp_path / "checkpoint.pt")
    with gzip.open(tmp_path / "packed", "wb") as file:
        file.write(b"x")
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "model.json").write_text("{}")
    (tmp_path / "none").mkdir()
    found = {
        "empty": (b"", "an empty file"),
        "text": (b"torch_utils.persistence", "a text"),
        "mine.py": (b"def make(): ...", "Python code.*mine.py:FUNCTION"),
        "noise": (bytes(range(7, 71)), "of an unknown kind"),
        "picture": (b"\x89PNG\r\n\x1a\n" + bytes(60), "a picture"),
        "net.onnx": (b"\x08\x08\x12\x07pytorch" + bytes(60), "ONNX"),
        "plain.safetensors": (None, r"weights alone, 1 tensors, such as conv\.weight"),
        "checkpoint.pt": (None, "a PyTorch checkpoint"),
        "packed": (None, "gzip"),
        "run": (None, r"the folder of a run: its model is .*run/model"),
        "none": (None, "an empty folder"),
        "": (None, r"a folder with checkpoint\.pt, .* and \d+ more"),
    }
    for name, (content, _) in found.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    for name, (_, says) in found.items():
        assert recognised(tmp_path / name) is None
        assert not is_model(tmp_path / name)
        with pytest.raises(ValueError, match=rf"no model that says what it is, but .*{says}.*your own code"):
            ed.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"there is no model folder or file .*missing"):
        ed.load(tmp_path / "missing")


def test_samplers_beside_a_model_are_no_part_of_it(tmp_path: Path) -> None:
    pipeline(tmp_path / "pipeline", "eps", "ddim_default")
    before = checksum(tmp_path / "pipeline")
    (tmp_path / "pipeline" / "samplers").mkdir()
    (tmp_path / "pipeline" / "samplers" / "fast.json").write_text("{}")
    assert checksum(tmp_path / "pipeline") == before
    assert samplers_of(SNAPSHOT) == SNAPSHOT.with_name("cond_latent.pkl-samplers")


def test_a_format_of_ones_own(two_numbers: None, tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("gaussian 0 0.25")
    denoiser = ed.load(file)
    x = torch.ones(1, 1, 2, 2)
    # c_skip(sigma) x, with sd = 0.25 and sigma = 0.25.
    torch.testing.assert_close(denoiser(x, torch.tensor(0.25)), x / 2)


@pytest.mark.slow
def test_verbs_take_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["sample", str(SNAPSHOT), "--seeds", "0", "--n", "2", "--out", str(out), "--processes", "1"]) == 0
    assert list(out.glob("*0*"))
