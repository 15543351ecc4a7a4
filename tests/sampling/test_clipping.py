"""The clipping of D as a choice of a sampler, for data whose clipped solution has a closed form.

Of Gaussian data of standard deviation 2, D = 4 x / (4 + sigma^2), and x = k sqrt(4 + sigma^2) solves the ODE. D grows
as noise falls. From where it reaches a limit, x - limit falls in proportion to sigma, so x ends at the limit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.denoisers.clipping import UsualClip
from elucidiff.denoisers.usual import Usual
from elucidiff.sampling.saved_samplers import NamedSampler, read_named, save_named

SIGMAS = ed.steps.karras(120, 0.002, 20.0)
ENDS = (0.3, 0.9, 1.7, -0.8, -2.5)  # 2 k, where x ends without a limit


class Gaussian:
    """Of standard deviation 2, that says how it is usually clipped."""

    sample_shape = (1, 1, 5)

    def __init__(self, clip: Any = None) -> None:
        self.usual = Usual(clip=clip)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return 4 * x / (4 + torch.as_tensor(sigma).square()).reshape(-1, *[1] * (x.ndim - 1))


def latents(*ends: float) -> Tensor:
    """Of unit variance, that end there."""
    return torch.tensor(ends, dtype=torch.float64).reshape(1, 1, 1, -1) * (4 + SIGMAS[0] ** 2) ** 0.5 / 2 / SIGMAS[0]


@pytest.mark.parametrize(("clip", "limit"), [("clamp", 1.0), (0.5, 0.5), ("clamp:limit=0.25", 0.25), (None, 9.0)])
def test_a_clamped_run_ends_at_the_limit(clip: Any, limit: float) -> None:
    expected = torch.tensor(ENDS, dtype=torch.float64).clamp(-limit, limit)
    for solver in ("heun", "ipndm:order=2"):
        x = ed.sample(Gaussian(), latents(*ENDS), SIGMAS, solver=solver, clip=clip)
        assert (x.flatten() - expected).abs().max() < 2e-3


def test_a_threshold_keeps_the_ratios_within_an_image() -> None:
    x = ed.sample(Gaussian(), latents(3.0, 1.5, -0.6), SIGMAS, clip="threshold:ratio=1")
    assert (x.flatten() - torch.tensor([1.0, 0.5, -0.2], dtype=torch.float64)).abs().max() < 2e-3
    x = ed.sample(Gaussian(), latents(3.0, 1.5, -0.6), SIGMAS, clip=ed.adapters.DynamicThreshold(1.0, largest=2.0))
    # Of 4, 2 and -0.8 times a number, q is 2 at most: what lies beyond is cut.
    assert float(x.max()) == pytest.approx(1.0, abs=2e-3)
    assert float(x.flatten()[2]) > -0.31


def test_the_usual_clipping_is_switched_off_and_replaced() -> None:
    model = Gaussian(ed.adapters.Clamp(0.25))

    def most(**choices: Any) -> float:
        sampler = ed.Sampler(n=100, sigma_max=20, **choices)
        return float(sampler.run(model, 8).x.abs().max())

    assert most() == pytest.approx(0.25, abs=1e-3)
    assert most(clip="usual") == most()
    assert most(clip=0.5) == pytest.approx(0.5, abs=1e-3)
    assert most(clip=None) > 2
    # With noise levels of one's own nothing is clipped that was not asked to be; else as the model says.
    z = latents(*ENDS)
    assert float(ed.sample(model, z, SIGMAS).abs().max()) == pytest.approx(2.5, abs=1e-3)
    assert float(ed.sample(model, z).abs().max()) == pytest.approx(0.25, abs=1e-3)
    assert float(ed.sample(model, z, clip=None).abs().max()) > 2


def test_it_is_a_part_in_texts_and_files(tmp_path: Path) -> None:
    for text, clip in (
        ("clip=none", None),
        ("clip=clamp:limit=2", ed.adapters.Clamp(2.0)),
        ("clip=threshold:ratio=0.9,largest=3", ed.adapters.DynamicThreshold(0.9, 3.0)),
    ):
        sampler = ed.Sampler.parse(text)
        assert sampler.clip == clip
        assert sampler.to_text() == text
        assert ed.Sampler.from_plain(json.loads(json.dumps(sampler.to_plain()))) == sampler
        named = NamedSampler("kept", sampler, "0" * 64, 35, 0.01, 0.001, "0-7", 0.02, 7.0, None, "elucidiff steps")
        assert read_named(save_named(tmp_path / text, named)).sampler == sampler
    assert ed.Sampler.parse("").clip == UsualClip()
    assert ed.Sampler().with_settings({"clip": "clamp", "clip.limit": 3}).clip == ed.adapters.Clamp(3.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clamp:limit=0", "clip limit is 0, but must be a finite number > 0"),
        ("clamp:limit=nan", "limit of clip clamp is .nan., but must be a number"),
        ("threshold:ratio=1.5", "clip ratio is 1.5, but must be above 0 and at most 1"),
        ("threshold:largest=0.5", "clip largest is 0.5, but must be at least 1"),
        ("clamps", "there is no clip 'clamps'; did you mean 'clamp'"),
    ],
)
def test_what_is_no_clipping_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ed.Sampler(clip=text)


MODEL = """
import elucidiff as ed
from tests.sampling.test_clipping import Gaussian

def make():
    return Gaussian(ed.adapters.Clamp(0.25))
"""


def test_the_verbs_take_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clipped_model.py").write_text(MODEL)
    model = f"{tmp_path / 'clipped_model.py'}:make"

    def brightest(*words: str) -> int:
        out = tmp_path / "-".join(("out", *words)).replace(":", "_")
        few = ("--seeds", "0-7", "--steps", "karras:n=60,sigma_max=20", "--processes", "1", "--device", "cpu")
        assert main(["sample", model, "--out", str(out), *few, *words]) == 0, capsys.readouterr().err
        return max(int(np.array(Image.open(file)).max()) for file in out.glob("0*.png"))

    # 127.5 x + 128
    assert brightest() == 159
    assert brightest("--clip", "0.5") == 191
    assert brightest("--clip", "none") == 255
    for words in (["likelihood", model, "digits"], ["interpolate", model, "--images", "a.png", "b.png"]):
        assert main([*words, "--clip", "clamp", "--out", str(tmp_path / "none")]) == 2
        assert "leave --clip out" in capsys.readouterr().err
