"""Where nobody chooses, a foreign model is sampled by what it says itself, and better than at home.

The models are exact, so that their ODE has an exact solution: by four hundred steps of Heun's method from the top of
each model's own range. Home samplers are the first-order ones of their kinds, at the same number of evaluations.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.denoisers import opening
from elucidiff.denoisers.clipping import Clamp, Clipped
from elucidiff.denoisers.usual import Usual
from tests.interop.closed_form import KINDS, TABLE, Blurred, foreign

COUNT = 48


def rms(x: Tensor, y: Tensor) -> float:
    return float((x - y).square().mean().sqrt())


def home(denoiser: ed.adapters.AdaptedDenoiser, z: Tensor, n: int, spacing: str) -> Tensor:
    """DDIM on a clipped D over times of the table, or Euler's method of a flow over even times."""
    if denoiser.predicts == "flow":
        t = torch.linspace(1, 0, n + 1, dtype=torch.float64)
        x = z
        for now, then in itertools.pairwise(t):
            x = x + (then - now) * denoiser.network(x, now.expand(len(x)))
        return x
    if spacing == "even":  # of a continuous time: Euler's method from 1 to 1/1000
        levels = ed.schedules.VP().sigma(torch.linspace(1, 1e-3, n, dtype=torch.float64))
    else:
        sigmas = ((1 - TABLE) / TABLE).sqrt()
        times = {
            "leading": [index * (1000 // n) for index in range(n)][::-1],
            "trailing": [round(1000 - index * 1000 / n) - 1 for index in range(n)],
        }[spacing]
        levels = sigmas[times]
    x = z * float((1 + levels[0] ** 2).sqrt())
    for now, then in zip(levels, [*levels[1:], torch.tensor(0.0)], strict=True):
        clean = denoiser(x, now).clamp(-1, 1)
        x = clean + then / now * (x - clean)
    return x


@pytest.fixture(scope="module")
def exact() -> Blurred:
    return Blurred()


@pytest.mark.parametrize("kind", KINDS)
def test_the_usual_sampler_is_better_than_home(kind: str, exact: Blurred) -> None:
    denoiser = foreign(kind, exact)
    high = min(denoiser.sigma_max, 3000.0)
    z = ed.SeededNoise(range(COUNT)).latents(denoiser.sample_shape).double()
    start = z if math.isinf(denoiser.sigma_max) else z * math.sqrt(1 + high**-2)
    solution = ed.sample(exact, start, ed.steps.karras(200, 0.002, high))
    spacings = {"table": ("leading", "trailing"), "vp": ("even",)}.get(kind.partition(" ")[2], ("even",))
    for n, margin in ((5, 1.0), (8, 0.9), (10, 0.85), (16, 0.65), (18, 0.6), (35, 0.5)):
        run = ed.Sampler.usual(denoiser, n=n).run(denoiser, range(COUNT))
        assert run.nfe == n
        ours, theirs = rms(run.x, solution), min(rms(home(denoiser, z, n, each), solution) for each in spacings)
        print(f"| {kind} | {n} | {theirs:.4f} | {ours:.4f} | {ours / theirs:.2f} |")
        assert ours < margin * theirs


def test_what_a_model_says() -> None:
    by = {kind: foreign(kind).usual for kind in KINDS}
    assert all((usual.steps, usual.solver) == ("flow", "ipndm:order=2") for usual in by.values())
    assert {kind for kind, usual in by.items() if usual.clip == Clamp(1.0)} == {"epsilon table", "score vp"}
    ours = ed.Denoiser(ed.networks.UNet.ddpmpp((1, 8, 8), base_channels=8), ed.preconditioning.EDM())
    assert ours.usual == Usual()
    assert ed.Sampler.usual(ours) == ed.Sampler()


def test_units_of_the_data_move_the_steps() -> None:
    denoiser = foreign("epsilon table")
    denoiser.facts["data"] = {"dtype": "float32", "sigma_data": 30.0}
    assert denoiser.usual == Usual("flow:shift=60", "ipndm:order=2", None)
    assert float(ed.Sampler.usual(denoiser, n=3).sigmas()[1]) == pytest.approx(119.64, rel=1e-3)


def test_the_clip_is_the_models_own() -> None:
    denoiser = foreign("epsilon table")
    assert ed.adapters.InUnits(denoiser, 2.0, 0.0).usual.clip == Clamp(1.0)
    denoiser.usual_clip = Clamp(0.25)
    halves = ed.adapters.InUnits(denoiser, 2.0, 0.0).usual.clip
    assert halves is not None
    torch.testing.assert_close(halves(torch.tensor([[-3.0, 0.4, 3.0]])), torch.tensor([[-0.5, 0.4, 0.5]]))
    denoiser.usual_clip = None
    assert denoiser.usual.clip is None


def test_a_network_that_errs_does_not_diverge() -> None:
    class Wrong(torch.nn.Module):
        """epsilon that is too small: the ODE leaves (1 / 160)^0.7 of the noise at sigma = 80, 2.3 or so."""

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return 0.7 * x

    time = ed.adapters.DiscreteTime(TABLE, "interpolated")
    model = ed.adapters.AdaptedDenoiser(Wrong(), "epsilon", time, sample_shape=(1, 8, 8))
    unclipped = ed.sample(model, 16, "karras:n=18")
    assert float(unclipped.abs().max()) > 3
    for x in (ed.sample(model, 16), ed.Sampler.usual(model).run(model, 16).x, ed.Sampler().run(model, 16).x):
        assert float(x.abs().max()) <= 1.01


def test_noise_levels_that_are_given_leave_d_as_it_is() -> None:
    denoiser = foreign("epsilon table")
    sigmas = ed.steps.karras(6, 0.02, 100.0)
    z = ed.SeededNoise(range(2)).latents(denoiser.sample_shape)
    assert torch.equal(ed.sample(denoiser, z, sigmas), ed.sample(denoiser, z, sigmas, solver="heun"))
    clipped = ed.sample(Clipped(denoiser, Clamp(0.5)), z, sigmas)
    assert float(clipped.abs().max()) <= 0.5


MINE = """
import torch

import elucidiff as ed


def make():
    time = ed.adapters.ContinuousTime(ed.schedules.Flow())
    return ed.adapters.AdaptedDenoiser(Still(), "flow", time, sample_shape=(1, 4, 4))


class Still(torch.nn.Module):
    def forward(self, x, t):
        return -0.5 * x
"""


@pytest.mark.parametrize(("words", "text"), [((), "flow"), (("--n", "4"), "flow:n=4"), (("--table", "edm"), None)])
def test_a_model_is_opened_once_to_be_sampled_as_it_says(
    words: tuple[str, ...], text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps are the model's where nobody chooses a way, and --n goes with it; opening it twice costs as much."""
    (tmp_path / "mine.py").write_text(MINE)
    opened, true = [], opening._open

    def counted(*arguments: Any) -> Any:
        opened.append(arguments)
        return true(*arguments)

    monkeypatch.setattr(opening, "_open", counted)
    out = tmp_path / "out"
    common = ("--seeds", "0-1", "--processes", "1", "--device", "cpu", "--backend", "eager", "--out", str(out))
    assert main(["sample", f"{tmp_path / 'mine.py'}:make", *words, *common]) == 0
    assert len(opened) == 1
    sampler = ed.Sampler.from_plain(json.loads((out / "samples.json").read_text())["sampler"])
    usual = ed.Sampler() if text is None else ed.Sampler(text, solver="ipndm:order=2")
    assert sampler == usual
