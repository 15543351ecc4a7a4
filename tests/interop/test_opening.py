"""Models of other formats are opened by what is in them, wherever a model is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff import parts
from elucidiff.cli.main import main
from elucidiff.interop.opening import Format, checksum, recognised
from tests.golden_files import GOLDEN

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
    del parts._PARTS["format"]["two_numbers"]


def test_a_snapshot_is_recognised_by_content(tmp_path: Path) -> None:
    plain = tmp_path / "renamed"
    plain.write_bytes(SNAPSHOT.read_bytes())
    assert parts.to_text(recognised(plain)) == "nvlabs"
    ours, theirs = ed.load(plain), ed.interop.nvlabs.load(SNAPSHOT)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
    assert checksum(plain) == checksum(SNAPSHOT)


def test_nothing_else_is(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("text", b"torch_utils.persistence")):
        (tmp_path / name).write_bytes(content)
        assert recognised(tmp_path / name) is None
        with pytest.raises(ValueError, match=r"no model that says what it is.*--plugin MODULE"):
            ed.load(tmp_path / name)
    assert recognised(tmp_path) is None
    for missing in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match="model"):
            ed.load(missing)


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
