"""Models of encoded texts by the verbs: ``--labels texts.npy``, for data whose answers have a closed form.

The network knows Gaussian data of standard deviation 0.2 around the mean of its text. So samples end near that mean.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.sampling.given import draw_labels_from, labels_asked_for

MEANS = (-0.5, 0.5)


class Around(nn.Module):
    """x_0 of a flow at time t, given a text (B, L, E)."""

    def forward(self, x: Tensor, t: Tensor, text: Tensor | None = None) -> Tensor:
        if text is None:
            raise ValueError("this model needs the encoded text that it draws")
        mean = text.mean((1, 2)).reshape(-1, 1, 1, 1)
        s = (1 - t).reshape(-1, 1, 1, 1)
        sigma = t.reshape(-1, 1, 1, 1) / s.clamp(min=1e-6)
        return mean + 0.04 / (0.04 + sigma**2) * (x / s.clamp(min=1e-6) - mean)


def make() -> ed.adapters.AdaptedDenoiser:
    time = ed.adapters.ContinuousTime(ed.schedules.Flow())
    return ed.adapters.AdaptedDenoiser(Around(), "x0", time, any_labels=True, sample_shape=(1, 4, 4))


@pytest.fixture
def model(tmp_path: Path) -> str:
    texts = np.stack([np.full((3, 5), mean, np.float32) for mean in MEANS])
    np.save(tmp_path / "texts.npy", texts)
    (tmp_path / "of_texts.py").write_text("from tests.interop.test_conditions_by_file import make\n")
    for k, mean in enumerate(MEANS):
        Image.fromarray(np.full((4, 4), round(127.5 * mean + 127.5), np.uint8)).save(tmp_path / f"{k}.png")
    return f"{tmp_path / 'of_texts.py'}:make"


def levels(folder: Path) -> list[float]:
    """Means of the pictures, in [-1, 1]."""
    return [float(np.array(Image.open(file)).mean() / 127.5 - 1) for file in sorted(folder.glob("0*.png"))]


def test_samples_take_their_texts_in_turn(model: str, tmp_path: Path) -> None:
    texts, few = str(tmp_path / "texts.npy"), ("--processes", "1", "--device", "cpu", "--n", "8")
    assert main(["sample", model, "--labels", texts, "--seeds", "0-3", "--out", str(tmp_path / "a"), *few]) == 0
    assert levels(tmp_path / "a") == pytest.approx([-0.5, 0.5, -0.5, 0.5], abs=0.15)
    # One more is the sample of that seed and text alone.
    alone = ed.Sampler.usual(make(), n=8).run(make(), [1], torch.from_numpy(np.load(texts)[1:]))
    assert levels(tmp_path / "a")[1] == pytest.approx(float(alone.x.mean()), abs=0.01)


def test_the_other_verbs(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ("--labels", str(tmp_path / "texts.npy"), "--device", "cpu")
    np.savez(tmp_path / "data.npz", images=np.random.default_rng(0).integers(60, 190, (24, 1, 4, 4), np.uint8))
    data = str(tmp_path / "data.npz")
    pictures = [str(tmp_path / f"{k}.png") for k in range(2)]
    commands = {
        "steps": (
            "steps", "optimise", model, "--nfe", "3", "--solver", "ipndm:order=2", "--seeds", "0-3",
            "--fresh-seeds", "10-13", "--max-minutes", "0.02",
        ),
        "search": (
            "search", model, "--over", "n=4:5", "--metric", "error", "--trials", "2", "--seeds", "0-3",
            "--fresh-seeds", "10-13", "--out", str(tmp_path / "search"),
        ),
        "curve": (
            "curve", model, data, "--nfe", "4", "--solvers", "ipndm:order=2", "--metrics", "truncation_error",
            "--blocks", "1", "--images", "4", "--exact-images", "4", "--out", str(tmp_path / "curve"),
        ),
        "evaluate": (
            "evaluate", model, data, "--extractor", "pca-5", "--metrics", "fid", "--seeds", "0-23", "--n", "4",
            "--out", str(tmp_path / "evaluated"),
        ),
        "likelihood": (
            "likelihood", model, data, "--images", "2", "--solver", "heun", "--n", "8",
            "--out", str(tmp_path / "l.json"),
        ),
        "restore": (
            "restore", model, pictures[1], "--upscale", "2", "--seeds", "0-1", "--n", "6",
            "--out", str(tmp_path / "restored"),
        ),
        "interpolate seeds": (
            "interpolate", model, "--seeds", "0,1", "--frames", "3", "--n", "8", "--out", str(tmp_path / "way"),
        ),
        "interpolate pictures": (
            "interpolate", model, "--images", *pictures, "--frames", "3", "--n", "16", "--solver", "heun",
            "--out", str(tmp_path / "between"),
        ),
    }  # fmt: skip
    for name, words in commands.items():
        assert main([*words, *texts]) == 0, (name, capsys.readouterr().err)
    told = json.loads((tmp_path / "l.json").read_text())
    assert len(told["images"]) == 2
    # The ways begin and end at what was asked for.
    between = [
        float(np.array(Image.open(file)).mean() / 127.5 - 1) for file in sorted((tmp_path / "between").glob("0*"))
    ]
    assert (between[0], between[-1]) == pytest.approx(MEANS, abs=0.05)


def test_seeds_draw_one_of_the_texts(model: str, tmp_path: Path) -> None:
    denoiser = make()
    draw_labels_from(ed.adapters.InUnits(denoiser, 1.0, 0.0), str(tmp_path / "texts.npy"))
    result = ed.Sampler.usual(denoiser, n=8).run(denoiser, range(12))
    assert isinstance(result.labels, Tensor)
    assert result.labels.shape == (12, 3, 5)
    means = result.labels.mean((1, 2))
    assert {round(float(mean), 3) for mean in means} == set(MEANS)
    assert (result.x.mean((1, 2, 3)) - means).abs().max() < 0.25


def test_doctor(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", model]) == 2
    assert "needs the encoded text" in capsys.readouterr().err
    means = torch.tensor(MEANS)[torch.arange(16) % 2].reshape(-1, 1, 1, 1)
    images = means + 0.2 * torch.randn(16, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    np.savez(tmp_path / "like.npz", images=ed.data.to_uint8(images).numpy())
    texts = ("--labels", str(tmp_path / "texts.npy"))
    assert main(["doctor", model, str(tmp_path / "like.npz"), *texts]) == 0, capsys.readouterr().err
    assert "it denoises 16 images" in capsys.readouterr().out
    np.save(tmp_path / "texts.npy", np.load(tmp_path / "texts.npy")[::-1])  # of the other pictures
    assert main(["doctor", model, str(tmp_path / "like.npz"), *texts]) == 2


def test_what_is_no_condition(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--labels cat: the model takes conditions: name a \.npy file of them"):
        labels_asked_for("cat", make())
    np.save(tmp_path / "bad.npy", np.array([np.nan, 1.0]))
    with pytest.raises(ValueError, match="holds values that are not finite"):
        labels_asked_for(str(tmp_path / "bad.npy"), make())
    np.save(tmp_path / "names.npy", np.array(["a", "b"]))
    with pytest.raises(ValueError, match=r"must be numbers, one or more rows"):
        labels_asked_for(str(tmp_path / "names.npy"), make())
