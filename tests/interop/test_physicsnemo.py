"""PhysicsNeMo's preconditioned networks, which normalise otherwise than where they came from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff.interop import home_sample, physicsnemo
from tests.interop.foreign import FOREIGN, cases, distance, golden, state_dict

SETTINGS = golden("physicsnemo", "ddpmpp")[1]["settings"]


@pytest.mark.parametrize("name", cases("physicsnemo"))
def test_denoiser_and_its_own_samplers(name: str) -> None:
    folder, case, numbers = golden("physicsnemo", name)
    denoiser = ed.interop.physicsnemo.load(folder, **case["settings"])
    labels = numbers.get("class_labels")
    sigma = numbers["sigma"].reshape(-1, 1, 1, 1)
    assert distance(denoiser(numbers["x"], sigma, labels).detach(), numbers["D"]) < 2e-5
    for run, told in case["runs"].items():
        options = {key: value for key, value in told.items() if key not in ("rel_own_replay", "draws", "num_steps")}
        noise = numbers.get(f"{run}/noise")
        x = home_sample(denoiser, numbers[f"{run}/z"].double(), told["num_steps"], step_noise=noise, **options)
        assert distance(x, numbers[f"{run}/x_final"]) < 2e-5


def test_survives_being_saved(tmp_path: Path) -> None:
    """The normalisation of a sample's deviation is in the weights, so a model folder keeps it."""
    _, _, numbers = golden("physicsnemo", "ddpmpp")
    physicsnemo.load(FOREIGN / "physicsnemo" / "ddpmpp", **SETTINGS).save(tmp_path / "model")
    assert distance(ed.load(tmp_path / "model")(numbers["x"], numbers["sigma"]).detach(), numbers["D"]) < 2e-5


def test_checkpoint_of_pytorch(tmp_path: Path) -> None:
    stored = state_dict(FOREIGN / "physicsnemo" / "ddpmpp" / "weights_0.safetensors")
    torch.save(stored, tmp_path / "model.pt")
    denoiser = physicsnemo.load(tmp_path / "model.pt", **SETTINGS, use_fp16=True)
    _, _, numbers = golden("physicsnemo", "ddpmpp")
    assert distance(denoiser(numbers["x"], numbers["sigma"]).detach(), numbers["D"]) < 2e-5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"img_resolution": 16}, "img_channels is missing"),
        (SETTINGS | {"model_type": "SongNet"}, "did you mean 'SongUNet'"),
        (SETTINGS | {"model_channel": 3}, "no argument 'model_channel'"),
        (SETTINGS | {"num_blocks": 2}, "lack"),
    ],
)
def test_wrong_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        physicsnemo.load(FOREIGN / "physicsnemo" / "ddpmpp", **settings)
