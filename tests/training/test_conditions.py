from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import elucidiff as ed
from elucidiff.augment import Augment
from elucidiff.data import ConditionScaling, Dataset, given_with, to_unit
from elucidiff.networks import resampled
from elucidiff.training.batches import TrainingData, draw
from elucidiff.training.config import TrainingConfig
from elucidiff.training.loop import noisy_batches
from elucidiff.training.planning import look_at, plan
from elucidiff.training.previews import preview_samples
from elucidiff.training.state import TrainingState

CPU = torch.device("cpu")
SMALL = "mp_unet:base_channels=8,channel_multipliers=1,blocks_per_level=1,attention_resolutions="


def _config(**settings: object) -> TrainingConfig:
    defaults: dict[str, object] = {
        "network": SMALL, "batch_size": 16, "duration_images": 32, "lr_ramp_images": 0, "memorisation_samples": 0,
        "device": "cpu", "compile": "off",
    }  # fmt: skip
    return TrainingConfig(**{**defaults, **settings})  # type: ignore[arg-type]


def _shades(count: int = 64) -> Dataset:
    """Images of one shade each, which is what their condition, of a quarter of their size, tells."""
    shades = np.random.RandomState(0).randint(0, 256, (count, 1, 1, 1), dtype=np.uint8)
    return Dataset.from_arrays(np.tile(shades, (1, 1, 8, 8)), conditions="downsample:4")


def test_a_model_learns_what_its_condition_tells(tmp_path: Path) -> None:
    """In noise of 40 times the data's std, nothing but the condition tells the shade."""
    config = _config(duration_images=16 * 250, lr=3e-2, ema_half_life_images=500, conditional=True)
    ed.training.train(config, tmp_path / "run", dataset=_shades())
    model = ed.load(tmp_path / "run" / "model")
    assert model.known_labels.field == (1, 2, 2)  # type: ignore[attr-defined]
    x = 20 * torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    shades = torch.tensor([-0.8, -0.4, 0.0, 0.4, 0.8]).reshape(5, 1, 1, 1)
    with torch.no_grad():
        found = model(x, 20.0, {"field": shades.expand(5, 1, 2, 2)})
    assert (found.mean((1, 2, 3)) - shades.flatten()).abs().max() < 0.3  # 0.8 without
    facts = model.facts["data"]
    assert (facts["condition_shape"], facts["condition_made"], facts["condition_dtype"]) == (
        [1, 2, 2], "downsample", "uint8",
    )  # fmt: skip


def test_a_resumed_run_has_the_same_bits(tmp_path: Path) -> None:
    config, pairs = _config(duration_images=64, checkpoint_images=32), _shades()
    ed.training.train(config, tmp_path / "whole", dataset=pairs)
    ed.training.train(replace(config, duration_images=32), tmp_path / "parts", dataset=pairs)
    ed.training.train(config, tmp_path / "parts", dataset=pairs, resume=True)
    one, other = (ed.load(tmp_path / name / "model").state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    with pytest.raises(ValueError, match="its data set had condition_shape"):
        ed.training.train(config, tmp_path / "parts", dataset=pairs.without_conditions(), resume=True)


@pytest.mark.parametrize("options", [{"xflip": 1.0, "rotate_int": 1.0}, {"rotate_frac": 1.0, "scale": 1.0}])
def test_pixels_of_image_and_condition_move_together(options: dict[str, float]) -> None:
    images = np.random.RandomState(0).randint(0, 256, (16, 1, 8, 8), dtype=np.uint8)
    pairs = Dataset.from_arrays(images, conditions=images)
    config = _config(augment=Augment(p=1.0, **options))
    state = TrainingState(config, pairs.shape, 0, CPU, condition_shape=pairs.condition_shape)
    draws = draw(0, 0, (16, 1, 8, 8), state.objective.noise, state.augment)
    (batch,) = noisy_batches(
        state, to_unit(pairs.images()), given_with(pairs, ConditionScaling.measured(pairs)), draws
    )
    assert isinstance(batch.labels, dict)
    assert torch.equal(batch.labels["field"], batch.images)
    assert not torch.equal(batch.images, to_unit(pairs.images()))


def test_colours_change_where_a_condition_is_a_picture_like_its_image() -> None:
    augment = Augment(p=1.0, brightness=1.0, xflip=1.0)
    params = augment.draw(4, torch.Generator().manual_seed(0))
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    changed, _ = augment.apply(x, params)
    assert torch.equal(augment.apply_to_condition(x, params, 3), changed)
    flipped = torch.where(params["xflip"].reshape(-1, 1, 1, 1) == 1, x.flip(3), x)
    assert torch.equal(augment.apply_to_condition(x[:, :1], params, 3), flipped[:, :1])


def test_labels_and_conditions_go_together() -> None:
    images = np.zeros((6, 1, 8, 8), np.uint8)
    pairs = Dataset.from_arrays(images, [0, 1, 2, 0, 1, 2], conditions=np.full((6, 2, 4, 4), 255, np.uint8))
    given = given_with(pairs, ConditionScaling.measured(pairs), [1, 2])
    assert isinstance(given, dict)
    assert given["field"].unique().tolist() == [1.0]
    assert given["labels"].tolist() == [[0, 1, 0], [0, 0, 1]]
    config = _config(conditional=True)
    data = TrainingData.open(config, pairs)
    state = TrainingState(config, data.shape, 3, CPU, condition_shape=data.condition_shape)
    assert state.denoiser.known_labels.described == "conditions of shape (2, 4, 4) and labels of 3 classes"


def test_the_preview_shows_condition_samples_and_truth(tmp_path: Path) -> None:
    pairs = _shades(3)
    ed.training.train(_config(), tmp_path / "run", dataset=pairs)
    model = ed.load(tmp_path / "run" / "model")
    assert isinstance(model, ed.Denoiser)
    x, columns = preview_samples(model, pairs=pairs)
    assert (x.shape, columns) == ((18, 1, 8, 8), 6)
    truth = to_unit(pairs.images()).double()
    assert torch.equal(x[5::6], truth)
    low = pairs.conditions()
    assert low is not None
    assert torch.equal(x[::6], resampled(to_unit(low), (8, 8)).double())
    assert not torch.equal(x[1], x[2])


def test_a_plan_sees_the_condition() -> None:
    made = plan(look_at("digits", condition="downsample:4"), minutes=0.5, device="cpu")
    assert made.config.condition == "downsample:4"
    (choice,) = [choice for choice in made.choices if choice.setting == "condition"]
    assert choice.value == "1x2x2"
    with pytest.raises(ValueError, match="does not divide images of 8x8"):
        look_at("digits", condition="downsample:3")


def test_networks_and_data_that_do_not_fit() -> None:
    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 1, 1)

        def forward(self, x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.layer(x)
            return output

    with pytest.raises(ValueError, match=r"conditions of shape \(1, 2, 2\), but the network takes none"):
        TrainingState(_config(), (1, 8, 8), 0, CPU, network=Bare(), condition_shape=(1, 2, 2))
