"""Training with objects: a data set in memory, a network, an objective and an augmentation of one's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.training import TrainingConfig, reconstruct, train
from elucidiff.training.checkpoint import CheckpointFolder
from tests.denoisers.strangers import Flat, Half, Labelled, Sign, TwoLayers, TwoLayersPart
from tests.training.test_loop import StopAfter

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 1, 8, 8), np.uint8)
LABELS = np.arange(24) % 3
DATA = ed.data.Dataset.from_arrays(IMAGES, LABELS)


def tiny(**settings: Any) -> TrainingConfig:
    defaults = {
        "network": TwoLayersPart(6), "preconditioning": Half(0.6), "objective": Flat(sigma_data=0.6), "batch_size": 4,
        "duration_images": 32, "lr": 1e-2, "lr_ramp_images": 8, "ema_half_life_images": 16, "memorisation_samples": 0,
        "log_images": 8, "checkpoint_images": 16, "compile": "off", "device": "cpu",
    }  # fmt: skip
    return TrainingConfig(**(defaults | settings))


def weights(run: Path) -> dict[str, Tensor]:
    newest = CheckpointFolder(run / "checkpoints", 1).newest()
    assert newest is not None
    return newest.tensors


def assert_equal(one: Path, other: Path) -> None:
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert (one / "model" / "model.safetensors").read_bytes() == (other / "model" / "model.safetensors").read_bytes()


def network() -> TwoLayers:
    torch.manual_seed(3)
    return TwoLayers(1, 6)


def test_objects_and_settings_give_the_same_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    settings = tiny(data=str(tmp_path / "x.npz"), conditional=True, augment=Sign())
    train(settings, tmp_path / "settings")
    plain = tiny(network="ddpmpp", objective="edm", conditional=True)
    given: dict[str, Any] = {"network": TwoLayersPart(6), "objective": Flat(sigma_data=0.6), "augment": Sign()}
    train(plain, tmp_path / "objects", dataset=DATA, **given)
    assert_equal(tmp_path / "objects", tmp_path / "settings")
    written = TrainingConfig.load(tmp_path / "objects" / "config.yaml")
    assert written == dataclasses.replace(settings, data="")
    model = ed.load(tmp_path / "objects" / "model")
    assert isinstance(model.network, Labelled)
    assert (model.label_dim, model.preconditioning) == (3, Half(0.6))


@pytest.mark.parametrize("given", ["part", "module"])
def test_a_resumed_run_equals_an_unbroken_one(given: str, tmp_path: Path) -> None:
    config = tiny(ema_widths=(0.1,))

    def run(folder: str, **options: Any) -> None:
        chosen: Any = TwoLayersPart(6) if given == "part" else network()
        train(config, tmp_path / folder, dataset=DATA, network=chosen, **options)

    run("unbroken")
    run("stopped", callbacks=StopAfter(3))
    assert weights(tmp_path / "stopped")["network.first.weight"].isfinite().all()
    run("stopped", resume=True)
    assert_equal(tmp_path / "stopped", tmp_path / "unbroken")


def test_a_module_is_trained_in_place_and_its_model_is_loaded_into_another(tmp_path: Path) -> None:
    module, before = network(), network()
    train(tiny(ema_widths=(0.1,), validation_images=4), tmp_path / "run", dataset=DATA, network=module)
    trained = weights(tmp_path / "run")
    assert all(torch.equal(trained[f"network.{name}"], value) for name, value in module.state_dict().items())
    moved = max(
        float((one - two).detach().abs().max())
        for one, two in zip(module.parameters(), before.parameters(), strict=True)
    )
    assert 0.01 < moved < 0.2
    assert (
        "# network: not the one below, but a TwoLayers that was given" in (tmp_path / "run/config.yaml").read_text()
    )
    for folder in ("model", "best"):
        with pytest.raises(ValueError, match="says nothing of how its network is built"):
            ed.load(tmp_path / "run" / folder)
        model = ed.load(tmp_path / "run" / folder, network=network())
        assert model.sample_shape == (1, 8, 8)
        assert model(torch.zeros(1, 1, 8, 8), 1.0).isfinite().all()
    average = {name: value for name, value in trained.items() if name.startswith("ema.")}
    kept = ed.load(tmp_path / "run" / "model", network=network()).network.state_dict()
    assert all(torch.equal(average[f"ema.{name}"], value) for name, value in kept.items())
    assert reconstruct(tmp_path / "run", 0.12, network=network()).facts["provenance"]["ema_width"] == 0.12


def test_a_module_of_a_part_is_written_with_its_part(tmp_path: Path) -> None:
    train(tiny(), tmp_path / "run", dataset=DATA, network=TwoLayersPart(5).build((1, 8, 8)))
    assert TrainingConfig.load(tmp_path / "run" / "config.yaml").network == TwoLayersPart(5)
    assert isinstance(ed.load(tmp_path / "run" / "model").network, TwoLayers)


def test_the_first_step_is_adam_on_the_stranger_s_loss(tmp_path: Path) -> None:
    """Adam's first step moves every weight by the learning rate, against the sign of its gradient."""
    from elucidiff.training.batches import draw
    from elucidiff.training.loop import noisy_batches, update
    from elucidiff.training.state import TrainingState

    config = tiny(lr_ramp_images=0, lr_decay="inverse_sqrt", lr=1e-3)
    state = TrainingState(config, (1, 8, 8), 0, torch.device("cpu"), network=network())
    images = torch.from_numpy(IMAGES[:4]).float() / 127.5 - 1
    draws = draw(0, 0, (4, 1, 8, 8), config.objective.noise)
    update(state, noisy_batches(state, images, None, draws))
    reference = network()
    denoiser = ed.Denoiser(reference, Half(0.6))
    sigma = (-1.2 + 1.2 * draws.level).exp()
    error = denoiser(images + sigma.reshape(-1, 1, 1, 1) * draws.noise, sigma) - images
    (error.square().sum() / 4).backward()  # a weight of 1
    for (name, now), before in zip(state.denoiser.network.named_parameters(), reference.parameters(), strict=True):
        gradient = before.grad
        assert gradient is not None
        expected = before - 1e-3 * gradient / (gradient.abs() + config.adam_eps)
        torch.testing.assert_close(now, expected, rtol=0, atol=2e-7, msg=name)


def test_resuming_with_other_objects_is_refused(tmp_path: Path) -> None:
    train(tiny(), tmp_path / "run", dataset=DATA, network=network(), callbacks=StopAfter(4))
    others: list[tuple[dict[str, Any], str]] = [
        ({"network": TwoLayers(1, 7)}, r"its network had first\.weight \[6, 1, 3, 3\], now it is \[7, 1, 3, 3\]"),
        ({"objective": Flat(sigma_data=0.6, scale=2.0)}, r"its settings had objective\.scale 1\.0, now it is 2\.0"),
        ({"dataset": ed.data.Dataset.from_arrays(255 - IMAGES)}, "its data set had sha256"),
        ({"augment": Sign()}, "the network is not told how images are augmented"),
    ]
    for change, message in others:
        given: dict[str, Any] = {"dataset": DATA, "network": network(), **change}
        with pytest.raises(ValueError, match=message) as caught:
            train(tiny(), tmp_path / "run", resume=True, **given)
        assert "\n" not in str(caught.value)
    train(tiny(), tmp_path / "run", dataset=DATA, network=network(), resume=True)


class Unregistered(Flat):
    """A subclass of a part is none before it has a name of its own."""


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ({}, {"dataset": None}, "there is nothing to train on: name a data set in data, or give a dataset"),
        ({}, {"objective": Unregistered()}, r"objective: Unregistered has no name .*@ed\.part\(KIND, NAME\)"),
        ({}, {"network": nn.Identity()}, "the network Identity takes too few arguments"),
        ({"conditional": True}, {"network": network()}, "the network takes no labels: set conditional to False"),
        ({"augment": Sign()}, {"network": network()}, "is not told how images are augmented"),
        ({}, {"network": TwoLayersPart().build((1, 4, 4))}, r"made for samples of shape \(1, 4, 4\), but the data"),
        (
            {"conditional": True},
            {"network": TwoLayersPart().build((1, 8, 8), label_dim=5)},
            "the network takes 5 labels, but the data have 3",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    settings: dict[str, Any], given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        train(tiny(**settings), tmp_path / "run", **{"dataset": DATA, **given})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_ema_follows_parameters_and_takes_statistics_of_batches() -> None:
    """Half-life 10, no ramp-up: one batch of 5 leaves 0.5^(1/2) of the old average."""
    module = nn.BatchNorm1d(2)
    ema = ed.training.EMA(module, half_life_images=10, rampup_ratio=None)
    module(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    with torch.no_grad():
        module.weight.fill_(3.0)
    ema.update(images_seen=100, batch_size=5)
    assert ema.beta == ed.training.ema_beta(100, 5, 10, None) == 0.5**0.5
    average = dict(ema.network.state_dict())
    torch.testing.assert_close(average["weight"], torch.full((2,), 3 - 2 * 0.5**0.5))
    torch.testing.assert_close(average["running_mean"], torch.tensor([0.2, 0.4]))
    assert int(average["num_batches_tracked"]) == 1
