from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.data import Dataset
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.labels import KnownLabels
from elucidiff.evaluation.pairs import evaluate_pairs


class Known(DenoiserModule):
    """The exact denoiser of y = c + N(0, tau^2) at every pixel: D = c + (x - c) tau^2 / (tau^2 + sigma^2)."""

    sample_shape = (1, 4, 4)

    def __init__(self, tau: float) -> None:
        super().__init__()
        self.tau = tau
        self.unused = nn.Parameter(torch.zeros(1))
        self.facts["data"] = {
            "dtype": "float64", "scaling": {"type": "none"}, "condition_dtype": "float64",
            "condition_scaling": {"type": "none"},
        }  # fmt: skip

    @property
    def known_labels(self) -> KnownLabels:
        """A field of the samples' shape."""
        return KnownLabels(0, field=(1, 4, 4))

    def forward(self, x: Tensor, sigma: Tensor, labels: object = None) -> Tensor:
        """D(x; sigma)."""
        field = self.known_labels.resolved(labels)["field"].to(x)  # type: ignore[index,call-overload]
        level = torch.as_tensor(sigma).to(x).reshape(-1, 1, 1, 1)
        return field + (x - field) * self.tau**2 / (self.tau**2 + level**2)


def _pairs(count: int, tau: float) -> Dataset:
    draws = np.random.RandomState(0)
    fields = draws.randn(count, 1, 4, 4)
    return Dataset.from_arrays(fields + tau * draws.randn(count, 1, 4, 4), conditions=fields)


def test_the_exact_denoiser_has_the_scores_of_its_distribution() -> None:
    """CRPS of N(0, tau^2) on itself is tau / sqrt(pi); the mean of M samples errs by tau sqrt(1 + 1 / M)."""
    found = evaluate_pairs(Known(0.3), _pairs(300, 0.3), per_condition=4, sampler="steps=karras:n=24,sigma_max=20")
    for name, expected in (
        ("crps", 0.3 / math.sqrt(math.pi)),
        ("rmse", 0.3 * math.sqrt(1.25)),
        ("rmse_single", 0.3 * math.sqrt(2)),
        ("spread_skill", 1.0),
    ):
        assert abs(found[name].value - expected) < 4 * found[name].error + 0.01 * expected, name
    assert (found.conditions, found.members, found.nfe) == (300, 4, 47)
    assert not found.baseline  # the condition is as large as the image


def test_too_sure_and_too_unsure_are_told_apart() -> None:
    sampler = "steps=karras:n=24,sigma_max=20"
    sure, unsure = (
        evaluate_pairs(Known(tau), _pairs(100, 0.3), sampler=sampler)["spread_skill"] for tau in (0.1, 0.9)
    )
    # M = 8: spread tau, error sqrt(0.3^2 + tau^2 / M)
    assert sure.value == pytest.approx(0.1 * math.sqrt(9 / 8) / math.sqrt(0.09 + 0.01 / 8), rel=0.1)
    assert unsure.value == pytest.approx(0.9 * math.sqrt(9 / 8) / math.sqrt(0.09 + 0.81 / 8), rel=0.1)


def _saved(path: Path) -> Path:
    torch.manual_seed(0)
    part = "mp_unet:base_channels=8,channel_multipliers=1,blocks_per_level=1,condition_channels=1"
    denoiser = ed.Denoiser(ed.networks.build(part, (1, 8, 8)), ed.preconditioning.EDM())
    denoiser.facts["data"] = {
        "dtype": "uint8", "condition_shape": [1, 2, 2], "condition_dtype": "uint8", "condition_made": "downsample",
    }  # fmt: skip
    denoiser.save(path)
    return path


def test_the_command_compares_with_bicubic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = _saved(tmp_path / "model"), tmp_path / "out"
    command = f"evaluate {model} digits --images 6 --per-condition 2 --n 2 --out {out} --device cpu"
    assert main(command.split()) == 0
    assert "2 samples for each of 6 conditions, 3 network evaluations a sample" in capsys.readouterr().out
    written = json.loads((out / "pairs.json").read_text())
    pairs = ed.data.open("digits", condition="downsample:4").select(np.linspace(0, 1796, 6).round())
    low = pairs.conditions()
    assert low is not None
    enlarged = nn.functional.interpolate(low.double(), (8, 8), mode="bicubic", antialias=True).clamp(0, 255)
    expected = (enlarged - pairs.images()).square().mean().sqrt()
    assert written["baseline"]["rmse"]["value"] == pytest.approx(float(expected), rel=1e-9)
    assert main(command.split()) == 2
    assert "holds results already" in capsys.readouterr().err
    distances = f"{command} --overwrite --metrics crps,fid --extractor pca-2".replace("--images 6", "--images 40")
    assert main(distances.split()) == 0
    assert "| fid |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("digits --per-condition 1", "rmse_single|crps needs at least 2 samples for each condition"),
        ("digits --condition downsample:2", r"have shape \(1, 4, 4\), but the model was trained with \(1, 2, 2\)"),
        ("digits --condition none --metrics rmse --condition mask", r"have shape \(2, 8, 8\)"),
        ("digits --seeds 0-3", "--seeds would have no effect on a model of conditions"),
        ("digits --images 5000", "--images is 5000, but there are 1,797 pairs"),
    ],
)
def test_what_does_not_fit_is_told_before_work(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _saved(tmp_path / "model")
    assert main(f"evaluate {model} {arguments} --out {tmp_path / 'out'} --n 2".split()) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(message, lines[0])
