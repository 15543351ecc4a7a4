"""Settings: to YAML and back, and one clear line for every mistake."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from elucidiff import parts
from elucidiff.augment import Augment
from elucidiff.design.objectives import EDM
from elucidiff.networks import ADMSettings, DDPMPPSettings
from elucidiff.plain_data import first_difference, from_dict, to_dict
from elucidiff.training.config import NetworkConfig, TrainingConfig
from elucidiff.training.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_yaml_round_trip(name: str, tmp_path: Path) -> None:
    config = PRESETS[name].config
    config.save(tmp_path / "config.yaml")
    assert TrainingConfig.load(tmp_path / "config.yaml") == config


def test_every_field_goes_through_yaml(tmp_path: Path) -> None:
    config = TrainingConfig(
        data="a/b: c", conditional=True, network=ADMSettings(64, (1, 2), 1, (8, 4), 0.0, 0.1),
        augment=Augment(p=0.12, xflip=1e8, hue=0.5), max_minutes=1.5, device_batch_size=64, lr_decay="cosine",
        adam_betas=(0.5, 0.9), gradient_clip=1.0, ema_rampup_ratio=None, ema_widths=(0.05, 0.1), precision="bf16",
    )  # fmt: skip
    config.save(tmp_path / "config.yaml")
    assert TrainingConfig.load(tmp_path / "config.yaml") == config


def test_files_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: digits\nlr: 1e-3\nnetwork:\n  type: ddpmpp\n  channel_multipliers: [1, 2]\n"
        "objective: edm:p_mean=-0.4\nmax_minutes: 5\n"
    )
    expected = TrainingConfig(
        data="digits",
        network=DDPMPPSettings(channel_multipliers=(1, 2)),
        objective=EDM(-0.4),
        max_minutes=5.0,
    )
    assert TrainingConfig.load(path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: x\nbatchsize: 4", "unknown field 'batchsize'; did you mean 'batch_size'?"),
        (
            "data: x\nnetwork: {type: adm, base_chanels: 4}",
            "network: network adm has no setting 'base_chanels'; did you mean 'base_channels'",
        ),
        ("data: x\naugment: {xflop: 1}", "did you mean 'xflip'"),
        ("data: x\nnetwork: {base_channels: 4}", "does not describe a network: it has no type"),
        ("data: x\nobjective: mine", "there is no objective 'mine'; "),
        ("data: x\nbatch_size: many", "batch_size is 'many', but must be a whole number"),
        ("data: x\nbatch_size: 1.5", "batch_size is 1.5, but must be a whole number"),
        ("data: x\nbatch_size: true", "batch_size is True, but must be a whole number"),
        ("data: x\nconditional: 1", "conditional is 1, but must be true or false"),
        (
            "data: x\nnetwork: ddpmpp:label_dropout=0.1",
            "label_dropout is 0.1, but there are no labels to drop",
        ),
        (
            "data: x\nconditional: true\nnetwork: ddpmpp:label_dropout=1",
            "label_dropout is 1.0, but must be a share",
        ),
        ("data: x\nlr: fast", "lr is 'fast', but must be a number"),
        ("data: x\nlr: -1", "lr is -1.0, but must be a positive number"),
        ("data: x\nlr: .nan", "lr is nan, but must be a positive number"),
        (
            "data: x\nlr_decay: linear",
            "there is no learning rate schedule 'linear'; ",
        ),
        ("data: x\nlr_decay: cooldown:share=0", "share is 0.0, but must be a share of the run in (0, 1]"),
        ("data: x\nadam_betas: [0.9]", "adam_betas takes 2 values, not 1"),
        (
            "data: x\nnetwork: {type: adm, channel_multipliers: 2}",
            "channel_multipliers of network adm is 2, but must",
        ),
        ("data: x\ndevice_batch_size: 100", "device_batch_size is 100, but must divide batch_size 512"),
        ("data: x\nduration_images: 0", "duration_images is 0, but must be at least 1"),
        ("data: x\nmax_minutes: 0", "max_minutes is 0.0, but must be a positive number"),
        ("data: x\nema_widths: [0.4]", "ema_widths"),
        ("- data", "holds no settings"),
        ("data: [", "is not a YAML file"),
    ],
)
def test_mistakes_are_told_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml") as error:
        TrainingConfig.load(path)
    assert message in str(error.value)


def test_yaml_runs_nothing(tmp_path: Path) -> None:
    path, proof = tmp_path / "config.yaml", tmp_path / "proof"
    path.write_text(f"data: !!python/object/apply:os.mkdir ['{proof}']")
    with pytest.raises(ValueError, match="not a YAML file"):
        TrainingConfig.load(path)
    assert not proof.exists()


def test_first_difference_names_the_field() -> None:
    config = PRESETS["cifar10"].config
    other = dataclasses.replace(config, network=dataclasses.replace(config.network, dropout=0.2), device="cpu")
    assert first_difference(to_dict(config), to_dict(other)) == ("network.dropout", 0.13, 0.2)
    assert first_difference(to_dict(config), to_dict(config)) is None
    changed = dataclasses.replace(config, device="cpu")
    assert first_difference(to_dict(config), to_dict(changed), ignore=("device",)) is None


def test_plain_data_are_plain() -> None:
    plain = to_dict(PRESETS["imagenet64"].config)
    assert from_dict(TrainingConfig, yaml.safe_load(yaml.safe_dump(plain))) == PRESETS["imagenet64"].config


def test_settings_of_parts_are_shorthand() -> None:
    config = TrainingConfig(network=NetworkConfig(base_channels=8, dropout=0.0), sigma_data=0.7, p_mean=-0.4)
    assert (config.preconditioning.sigma_data, config.objective.sigma_data, config.objective.p_mean) == (
        0.7,
        0.7,
        -0.4,
    )
    assert (parts.name_of(config.network), config.network.base_channels) == ("ddpmpp", 8)
    assert dataclasses.replace(config, lr=2e-3).sigma_data == 0.7
