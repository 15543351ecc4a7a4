"""Label dropout from the settings to the model folder: how many rows, which, and that nothing else drops them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elucidiff import networks, parts
from elucidiff.denoisers.guided import ClassifierFree
from elucidiff.denoisers.model_folder import load
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning
from elucidiff.networks import DDPMPPSettings
from elucidiff.training import TrainingConfig, train
from elucidiff.training.loop import NoisyBatch, update
from elucidiff.training.state import TrainingState

SHARE = 0.2


def state_for(architecture: Any = "ddpmpp", **settings: Any) -> TrainingState:
    common = {"channel_multipliers": [1], "blocks_per_level": 1, "attention_resolutions": []}
    plain = {"type": architecture, "base_channels": 8, **common, "dropout": 0.0, "label_dropout": SHARE}
    network = parts.from_plain("network", plain)
    defaults = {"data": "none", "conditional": True, "network": network, "batch_size": 40, "device": "cpu"}
    return TrainingState(TrainingConfig(**(defaults | settings)), (1, 4, 4), 3, torch.device("cpu"))


def test_a_vector_of_zeros_is_told_from_no_label(tmp_path: Path) -> None:
    """The network sees (vector, 1) / sqrt(2) where there is a label, and zeros where there is none."""
    signals = np.zeros((16, 1, 4), np.float32)
    vectors = np.linspace(-1, 1, 32, dtype=np.float32).reshape(16, 2)
    vectors[3] = 0
    np.savez(tmp_path / "data.npz", images=signals, labels=vectors)
    network = DDPMPPSettings(8, (1,), 1, (), dropout=0.0, label_dropout=0.3)
    config = TrainingConfig(
        data=str(tmp_path / "data.npz"), conditional=True, network=network, batch_size=8, duration_images=16,
        memorisation_samples=0, device="cpu",
    )  # fmt: skip
    train(config, tmp_path / "run")
    denoiser = load(tmp_path / "run" / "model")
    assert (denoiser.label_dim, denoiser.known_labels.width) == (2, 3)
    seen: list[Tensor] = []
    embed: Any = denoiser.network.embed_labels
    embed.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    x = torch.randn(4, 1, 4)
    denoiser(x, 1.0, torch.zeros(1, 2))
    denoiser(x, 1.0)
    ClassifierFree(denoiser, 2.0)(x, 1.0, torch.tensor([[0.5, 0.0]]))
    scale = math.sqrt(3 / 2)
    torch.testing.assert_close(seen[0] / scale, torch.tensor([[0.0, 0, 1]]))
    torch.testing.assert_close(seen[1], torch.zeros(1, 3))
    torch.testing.assert_close(seen[2] / scale, torch.tensor([[0.5, 0, 1]] * 4 + [[0.0, 0, 0]] * 4))


def test_vectors_are_guided_away_from_no_label_and_not_from_zeros() -> None:
    torch.manual_seed(3)
    network = networks.UNet(
        (1, 4), base_channels=8, channel_multipliers=(1,), blocks_per_level=1, label_dim=2, label_dropout=0.1,
        label_presence=True,
    )  # fmt: skip
    denoiser = Denoiser(network, preconditioning.EDM()).eval()
    denoiser.facts["data"]["label_kind"] = "vectors"
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3)
        x, labels = torch.randn(3, 1, 4), torch.zeros(3, 2)
        given, none = denoiser(x, 0.7, labels), denoiser(x, 0.7)
        assert float((given - none).abs().max()) > 0.01
        guided = ClassifierFree(denoiser, 3.0)(x, 0.7, labels)
        torch.testing.assert_close(guided, none + 3 * (given - none), rtol=1e-4, atol=1e-5)


def rows_seen(state: TrainingState, steps: int, parts: int = 1) -> Tensor:
    """The labels that the network embeds in some training steps, (steps, 40, 3); 1 where they were given."""
    seen: list[Tensor] = []
    network: Any = state.denoiser.network

    def note(layer: Any, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[0].detach().clone())

    hook = network.embed_labels.register_forward_pre_hook(note)
    size = 40 // parts
    for _ in range(steps):
        batches = [
            NoisyBatch(
                torch.zeros(size, 1, 4, 4), torch.ones(size), torch.zeros(size, 1, 4, 4),
                torch.tensor([[1.0, 2.0, -3.0]]).expand(size, 3), first=start, last=start + size == 40,
            )
            for start in range(0, 40, size)
        ]  # fmt: skip
        update(state, batches)
    hook.remove()
    rows = torch.cat(seen).reshape(steps, 40, 3)
    return rows / rows.abs().amax() * torch.tensor([3.0, 1.5, -1.0])


@pytest.mark.parametrize("architecture", ["ddpmpp", "adm", "mp_unet"])
def test_the_share_of_rows_that_are_asked_for_and_whole_rows_alone(architecture: str) -> None:
    rows = rows_seen(state_for(architecture), 30)
    dropped = (rows == 0).all(dim=2)
    torch.testing.assert_close(rows[~dropped], torch.ones_like(rows[~dropped]))
    count = dropped.numel()
    assert abs(float(dropped.double().mean()) - SHARE) < 4 * math.sqrt(SHARE * (1 - SHARE) / count)
    # Independent of the place in the batch and of the step.
    spread = dropped.double().mean(0).std()
    assert float(spread) == pytest.approx(math.sqrt(SHARE * (1 - SHARE) / 30), rel=0.45)


def test_depends_on_seed_step_and_place_alone() -> None:
    unbroken = rows_seen(state_for(), 4)
    assert len({tuple(step.flatten().tolist()) for step in unbroken}) == 4
    late = state_for()
    late.step = 2  # as after a resume
    torch.randn(100)
    assert torch.equal(rows_seen(late, 2), unbroken[2:])
    assert not torch.equal(rows_seen(state_for(seed=1), 4), unbroken)
    # In parts, each at its place in the batch.
    in_parts = rows_seen(state_for(), 1, parts=4)[0]
    assert len({tuple(part.flatten().tolist()) for part in in_parts.split(10)}) > 1
    again = rows_seen(state_for(), 1, parts=4)[0]
    assert torch.equal(again, in_parts)


def test_small_shares_are_not_rounded_in_half_precision() -> None:
    """bfloat16 knows 256 numbers in [0, 1): a share of 0.001 would become 0.004."""
    network = state_for().denoiser.network.train()
    network.label_dropout = 0.001
    labels = torch.ones(200_000, 3, dtype=torch.bfloat16)
    torch.manual_seed(0)
    dropped = (network.class_labels_or_zeros(labels, labels) == 0).all(dim=1).sum()
    assert 140 < int(dropped) < 260


def test_the_model_folder_tells_and_guidance_believes_it(pictures: str, tmp_path: Path) -> None:
    network = DDPMPPSettings(8, (1,), 1, (), dropout=0.0, label_dropout=0.0)
    config = TrainingConfig(
        data=pictures, conditional=True, network=network, batch_size=8, duration_images=8, memorisation_samples=0,
        device="cpu",
    )  # fmt: skip
    train(config, tmp_path / "kept")
    with pytest.raises(ValueError, match="trained without label dropout"):
        ClassifierFree(load(tmp_path / "kept" / "model"), 2.0)
    train(dataclasses.replace(config, network=dataclasses.replace(network, label_dropout=0.3)), tmp_path / "dropped")
    denoiser = load(tmp_path / "dropped" / "model")
    assert denoiser.label_dropout == 0.3
    description = json.loads((tmp_path / "dropped" / "model" / "model.json").read_text())
    assert description["network"]["part"]["label_dropout"] == 0.3
    x, labels = torch.randn(50, 1, 8, 8), torch.tensor([1])
    given = ClassifierFree(denoiser, 1.0)(x, 1.0, labels)
    assert torch.equal(given, denoiser(x, 1.0, labels.expand(50)))  # nothing is dropped when sampling
