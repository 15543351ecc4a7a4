"""Averages of other widths from snapshots that are named as EDM2 publishes them, combined by golden coefficients."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.interop import nvlabs, published_ema
from elucidiff.training.ema import Profile
from tests.golden_files import GOLDEN, load

SNAPSHOT = GOLDEN / "m_edm2/one_level.pkl"
_, TABLES = load("h_ema/posthoc")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The stored averages of the first golden set: two widths at two times."""
    for images, width in zip(TABLES["set_0/stored_images"], TABLES["set_0/stored_widths"], strict=True):
        shutil.copy(SNAPSHOT, tmp_path / f"edm2-tiny-{int(images) // 1000:07d}-{float(width):.3f}.pkl")
    return tmp_path


def test_names_say_width_and_time() -> None:
    # 4096 times 1024 images are 4194 thousands, and a published file of the paper has 2 ** 31 images.
    assert published_ema.profile_of("a-b-0004194-0.100.pkl") == Profile(0.1, 4194304)
    assert published_ema.profile_of("edm2-img512-xxl-2147483-0.015.pkl") == Profile(0.015, 2**31)
    with pytest.raises(ValueError, match=r"not named PREFIX-KIMG-WIDTH\.pkl"):
        published_ema.profile_of("network-snapshot-001000.pkl")


def test_coefficients_are_the_references(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file's weights are scaled by a number of its own, so that the result tells what each was taken with."""
    files = [*published_ema.snapshots_in(published)]
    factors = dict(zip(files, (1.0, 3.0, 7.0, -2.0), strict=True))
    honest = nvlabs.load

    def scaled(file: Path) -> ed.Denoiser:
        denoiser = honest(file)
        with torch.no_grad():
            for parameter in denoiser.network.parameters():
                parameter.mul_(factors[Path(file)])
        return denoiser

    monkeypatch.setattr(nvlabs, "load", scaled)
    stored = [
        (int(i), float(w)) for i, w in zip(TABLES["set_0/stored_images"], TABLES["set_0/stored_widths"], strict=True)
    ]
    place = {published_ema.profile_of(file): file for file in files}
    rows = zip(TABLES["set_0/wanted_width"], TABLES["set_0/wanted_images"], TABLES["set_0/coefficients"], strict=True)
    plain = next(honest(SNAPSHOT).network.parameters()).detach()
    for width, images, coefficients in list(rows)[::3]:
        made = published_ema.reconstruct(published, float(width), int(images))
        factor = sum(float(c) * factors[place[Profile(w, i)]] for c, (i, w) in zip(coefficients, stored, strict=True))
        torch.testing.assert_close(next(made.network.parameters()).detach(), factor * plain, rtol=1e-5, atol=1e-6)


def test_the_verb_makes_a_model_folder(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ema", str(published), "--width", "0.07", "--out", str(tmp_path / "model")]) == 0
    assert "width 0.07: the fit is" in capsys.readouterr().err
    model = ed.load(tmp_path / "model")
    # All of the files are of the same weights, of which every average is these.
    for made, one in zip(model.network.parameters(), nvlabs.load(SNAPSHOT).network.parameters(), strict=True):
        torch.testing.assert_close(made, one, rtol=1e-5, atol=1e-6)
    assert model.facts["provenance"]["ema_width"] == 0.07


def test_mistakes(published: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no snapshots"):
        published_ema.reconstruct(tmp_path / "nowhere", 0.1)
    shutil.copy(SNAPSHOT, published / "other-0004194-0.100.pkl")
    with pytest.raises(ValueError, match="several trainings, edm2-tiny and other"):
        published_ema.reconstruct(published, 0.1)
    with pytest.raises(ValueError, match="no snapshot was taken as late"):
        published_ema.reconstruct(sorted(published.glob("edm2*")), 0.1, 10**9)
