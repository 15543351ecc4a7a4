"""Fine-tuning: which weights are taken, and that a training begins with them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.networks import MPUNetSettings
from elucidiff.training import Callbacks, TrainingConfig, train
from elucidiff.training.pretrained import described, scaling_kept, take_weights

SMALL = MPUNetSettings(8, (1, 2), 1, (4,), dropout=0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 8x8 grey pictures of two classes, whose output is not 0."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = SMALL.build((1, 8, 8), label_dim=2)
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if name.endswith("gain"):
                    weight.fill_(0.5)
    path = tmp_path_factory.mktemp("pretrained") / "model"
    ed.Denoiser(network, ed.preconditioning.EDM(sigma_data=0.6)).save(path)
    return path


@pytest.mark.parametrize(
    ("shape", "label_dim", "augment_dim", "reshaped", "new", "left"),
    [
        ((1, 8, 8), 2, 0, [], [], []),
        ((1, 16, 16), 2, 0, [], [], []),  # another resolution keeps all
        ((1, 8, 8), 5, 0, ["embed_labels.weight"], [], []),
        ((1, 8, 8), 0, 0, [], [], ["embed_labels.weight"]),
        ((3, 8, 8), 2, 0, ["head.weight", "stem.weight"], [], []),
        ((1, 8, 8), 2, 9, [], ["augment_gain", "embed_augment.weight"], []),
    ],
)
def test_weights_that_fit_are_taken(
    shape: tuple[int, ...],
    label_dim: int,
    augment_dim: int,
    reshaped: list[str],
    new: list[str],
    left: list[str],
    model: Path,
) -> None:
    part, preconditioning = described(model, shape)
    assert preconditioning == ed.preconditioning.EDM(sigma_data=0.6)
    network = part.build(shape, label_dim=label_dim, augment_dim=augment_dim)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    theirs = ed.load(model).network.state_dict()
    found = take_weights(network, model)
    assert (sorted(found.reshaped), sorted(found.new), sorted(found.left)) == (reshaped, new, left)
    for name, value in network.state_dict().items():
        assert torch.equal(value, theirs[name] if name in found.taken else before[name])
    fresh = sum(before[name].numel() for name in (*reshaped, *new))
    assert found.share == pytest.approx(1 - fresh / sum(each.numel() for each in network.parameters()))
    for name in (*reshaped, *new, *left):
        assert name in found.text


def test_nothing_that_fits(model: Path) -> None:
    with pytest.raises(ValueError, match=r"no weight of .* fits the network"):
        take_weights(torch.nn.Linear(3, 2), model)


class Notes(Callbacks):
    def __init__(self) -> None:
        self.said: list[str] = []

    def on_note(self, text: str) -> None:
        self.said.append(text)


def test_a_training_begins_with_them_and_is_resumed_without_the_model(
    pictures: str, model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    ed.load(model).save(copy)
    config = TrainingConfig(
        data=pictures, conditional=True, network=SMALL, start_from=str(copy), batch_size=4, lr=1e-6,
        lr_ramp_images=0, ema_half_life_images=1, ema_rampup_ratio=None, duration_images=4, memorisation_samples=0,
        device="cpu", compile="off",
    )  # fmt: skip
    notes = Notes()
    train(config, tmp_path / "run", callbacks=notes)
    assert notes.said[0] == f"begun with 100% of the weights from {copy}"
    theirs, ours = (ed.load(path).network.state_dict() for path in (model, tmp_path / "run" / "model"))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-4, rtol=1e-4)
    for file in copy.iterdir():
        file.unlink()
    longer = dataclasses.replace(config, duration_images=8)
    assert train(longer, tmp_path / "run", resume=True).images_seen == 8


def test_weights_that_are_averaged_and_those_that_are_not(pictures: str, tmp_path: Path) -> None:
    config = TrainingConfig(
        data=pictures, network=SMALL, batch_size=4, lr=1e-2, lr_ramp_images=0, ema_half_life_images=1e6,
        ema_rampup_ratio=None, duration_images=16, memorisation_samples=0, device="cpu", compile="off",
    )  # fmt: skip
    train(config, tmp_path / "run")
    # With so long a half-life the average is where the training began.
    fresh = ed.load(tmp_path / "run" / "model").network.state_dict()
    averaged, trained = (SMALL.build((1, 8, 8)) for _ in range(2))
    take_weights(averaged, tmp_path / "run")
    [checkpoint] = (tmp_path / "run" / "checkpoints").glob("*.safetensors")
    said = take_weights(trained, checkpoint)
    assert said.share == 1
    stored = load_file(checkpoint)
    for name, value in averaged.state_dict().items():
        assert torch.equal(value, fresh[name])
        assert torch.equal(trained.state_dict()[name], stored[f"network.{name}"])
    assert not torch.equal(trained.head.weight, averaged.head.weight)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cannot begin with the checkpoint .*: its checksum does not match"):
        take_weights(trained, checkpoint)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        take_weights(trained, checkpoint.with_name("000000000099.safetensors"))


def test_one_command(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    np.savez("blobs.npz", images=random.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8), labels=np.arange(40) % 2)
    short = (
        "--duration-images=64",
        "--batch-size=32",
        "--log-images=32",
        "--memorisation-samples=0",
        "--device=cpu",
        "--compile=off",
        "--no-report",
    )
    assert main(["train", "blobs.npz", "--minutes", "1", "--from", str(model), *short]) == 0
    said = capsys.readouterr()
    assert re.search(rf"begun with \d+% of the weights from {re.escape(str(model))}", said.err)
    config = TrainingConfig.load("runs/blobs/config.yaml")
    assert (config.network, config.sigma_data, config.start_from) == (SMALL, 0.6, str(model))
    assert (
        main(
            ["train", "fashion-mnist", "--data", "blobs.npz", f"--from={model}", "--validation-images=0", *short[:-1]]
        )
        == 0
    )
    assert not Path("runs/fashion-mnist/report.html").exists()
    config = TrainingConfig.load("runs/fashion-mnist/config.yaml")
    assert (config.network, config.sigma_data) == (SMALL, 0.6)
    assert main(["train", "blobs.npz", "--from", "nowhere", "--run-dir", "x", *short]) == 2
    assert "there is no model folder or file nowhere" in capsys.readouterr().err
    assert main(["train", "runs/blobs/config.yaml", "--run-dir", "runs/blobs", "--resume", "--lr", "1"]) == 2
    assert "another run folder, from these weights with --from runs/blobs/model" in capsys.readouterr().err


def test_the_scaling_of_the_weights_is_kept(tmp_path: Path) -> None:
    """Weights expect values as they were scaled: not as other data would be."""
    measured = ed.data.Standard((280.0,), (10.0,))
    for name, scaling in (
        ("plain", measured),
        ("gaps", ed.data.Gaps(measured, "AA==")),
        ("pixels", ed.data.Pixels()),
    ):
        denoiser = ed.Denoiser(SMALL.build((1, 8, 8), label_dim=0), ed.preconditioning.EDM())
        denoiser.facts["data"] = {"scaling": ed.parts.to_plain(scaling)}
        denoiser.save(tmp_path / name)
    assert scaling_kept(tmp_path / "plain", (1, 16, 16)) == measured
    assert scaling_kept(tmp_path / "gaps", (1, 8, 8)) == measured
    assert scaling_kept(tmp_path / "plain", (2, 8, 8)) is None
    assert scaling_kept(tmp_path / "pixels", (1, 8, 8)) is None
