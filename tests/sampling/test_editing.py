"""SDEdit: against the closed form for Gaussian data, and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.sampling import Edit, SeededNoise
from elucidiff.sampling.jobs import draw_samples
from tests.sampling.jobs.tiny import Shrink

STD = 0.5  # of the data of Shrink without labels


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 4, 4)


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_the_ode_from_the_noisy_picture(strength: float, picture: torch.Tensor) -> None:
    sampler = ed.Sampler(steps="karras:n=256")
    found = sampler.run(Shrink(0), range(5), edit=Edit(picture, strength))
    sigma = sampler.sigmas()[256 - round(256 * strength)]
    begun = picture + sigma * SeededNoise(range(5)).latents((1, 4, 4)).double()
    # Of N(0, STD^2) the flow takes x at sigma to x STD / sqrt(STD^2 + sigma^2).
    torch.testing.assert_close(found.x, begun * STD / (STD**2 + sigma**2).sqrt(), rtol=1e-3, atol=1e-3)
    assert found.nfe == 2 * round(256 * strength) - 1
    assert float(found.sigmas[0]) == float(sigma)


def test_weak_edits_leave_the_picture_and_strong_ones_nothing_of_it(picture: torch.Tensor) -> None:
    sampler = ed.Sampler(steps="karras:n=32")
    plain = sampler.run(Shrink(0), range(8)).x
    weak, strong = (sampler.run(Shrink(0), range(8), edit=Edit(picture, share)).x for share in (0.05, 1.0))
    assert float((weak - picture).square().mean().sqrt()) < 0.02
    assert float((strong - plain).abs().max()) < 0.01  # STD / 80


def test_a_picture_for_each_seed(picture: torch.Tensor) -> None:
    pictures = torch.stack([picture, -picture, picture.flip(-1)])
    sampler = ed.Sampler(steps="karras:n=8")
    together = sampler.run(Shrink(0), range(3), edit=Edit(pictures, 0.5)).x
    alone = [sampler.run(Shrink(0), [seed], edit=Edit(pictures[seed], 0.5)).x[0] for seed in range(3)]
    assert torch.equal(together, torch.stack(alone))


@pytest.mark.parametrize(("strength", "steps"), [(1.0, 18), (0.5, 9), (0.27, 5), (1e-6, 1)])
def test_the_share_of_steps(strength: float, steps: int) -> None:
    sigmas = ed.Sampler().sigmas()
    kept = Edit(torch.zeros(1, 2, 2), strength).sigmas(sigmas)
    assert torch.equal(kept, sigmas[18 - steps :])


def test_schedules_that_scale_begin_at_the_same_picture(picture: torch.Tensor) -> None:
    found = [
        ed.Sampler(steps="karras:n=128", schedule=schedule).run(Shrink(0), range(3), edit=Edit(picture, 0.5)).x
        for schedule in ("edm", "vp", "flow")
    ]
    torch.testing.assert_close(found[1], found[0], rtol=5e-3, atol=5e-3)
    torch.testing.assert_close(found[2], found[0], rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.1, float("nan")])
def test_strengths_that_are_none(strength: float) -> None:
    with pytest.raises(ValueError, match="must be a share of the steps"):
        Edit(torch.zeros(1, 2, 2), strength)


def test_pictures_that_do_not_fit(picture: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="not finite"):
        Edit(torch.full((1, 4, 4), torch.nan))
    with pytest.raises(ValueError, match=r"has shape \(3, 4, 4\), but the samples have \(1, 4, 4\)"):
        ed.Sampler().run(Shrink(0), range(2), edit=Edit(picture.expand(3, 4, 4)))
    with pytest.raises(ValueError, match="or 2 of them"):
        ed.Sampler().run(Shrink(0), range(2), edit=Edit(picture.expand(3, 1, 4, 4)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network with new weights, and a picture of its size beside it."""
    folder = tmp_path_factory.mktemp("model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ed.networks.MPUNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
    ed.Denoiser(network, ed.preconditioning.EDM()).save(folder / "model")
    values = (np.arange(64) * 4).astype(np.uint8).reshape(8, 8)
    Image.fromarray(values).save(folder / "given.png")
    Image.fromarray(values[:6]).save(folder / "short.png")
    Image.fromarray(np.stack([values] * 3, -1)).save(folder / "colour.png")
    return folder


def test_variations_of_a_picture_by_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sample", str(model / "model"), "--seeds", "0-3", "--out", str(tmp_path / "out"), "--device", "cpu"]
    edit = ["--init", str(model / "given.png"), "--strength", "0.06"]
    assert main([*words, *edit]) == 0
    assert "1 evaluations each" in capsys.readouterr().out  # one step of Heun's method, to 0
    given = np.asarray(Image.open(model / "given.png")).astype(float)
    for seed in range(4):
        with Image.open(tmp_path / "out" / f"{seed:08d}.png") as file:
            assert np.abs(np.asarray(file).astype(float) - given).max() <= 2  # four times 0.002, and rounding
    listing = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert listing["init"].endswith("given.png")
    assert len(listing["sigmas"]) == 2
    # Another strength is other work.
    assert main([*words, *edit[:-1], "0.5"]) == 2
    assert main([*words, *edit, "--overwrite", "--processes", "2"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--strength", "0.5"), "--strength would have no effect without --init"),
        (("--init", "given.png", "--strength", "2"), "strength is 2, but must be a share"),
        (("--init", "short.png"), "the picture to begin at has shape (1, 6, 8), but the samples have (1, 8, 8)"),
        (("--init", "colour.png"), "has shape (3, 8, 8), but the model makes samples of shape (1, 8, 8)"),
        (("--init", "missing.png"), "No such file or directory"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...],
    message: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(model)
    assert main(["sample", "model", "--out", str(tmp_path / "out"), "--device", "cpu", *words]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "out").exists()


def test_the_library_call(model: Path, tmp_path: Path) -> None:
    outcome = draw_samples(model / "model", tmp_path / "out", range(2), init=model / "given.png", device="cpu")
    assert outcome is not None
    assert (outcome.done, outcome.nfe) == (2, 17)  # half of 18 steps
