"""``elucidiff train``: parts that are exchanged whole, their settings as flags, and a stranger's network."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff import parts, plugins
from elucidiff.cli.main import main
from elucidiff.training import TrainingConfig
from elucidiff.training.learning_rate import Cooldown

PLUGIN = '''
from dataclasses import dataclass
import torch
from torch import nn
import elucidiff as ed


class Net(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.into, self.out = nn.Conv2d(channels + 1, width, 3, padding=1), nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x, c_noise):
        level = c_noise.to(x.dtype).reshape(-1, 1, 1, 1).expand(len(x), 1, *x.shape[2:])
        return self.out(torch.relu(self.into(torch.cat([x, level], 1))))


@ed.part("network", "plugged_in")
@dataclass(frozen=True)
class PluggedIn(ed.networks.NetworkPart):
    """One hidden layer.

    Args:
        width: channels of it.
    """

    width: int = 8

    def build(self, sample_shape, *, label_dim=0, augment_dim=0):
        return Net(sample_shape[0], self.width)
'''
TINY = (
    "--duration-images=64", "--batch-size=32", "--validation-images=0", "--memorisation-samples=0", "--device=cpu",
    "--compile=off", "--log-images=32",
)  # fmt: skip


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    (tmp_path / "plugged.py").write_text(PLUGIN)
    yield tmp_path / "plugged.py"
    parts.registry.PARTS["network"].pop("plugged_in", None)
    plugins._import.cache_clear()
    os.environ.pop(plugins.VARIABLE, None)


def test_a_stranger_s_network_is_trained_saved_and_sampled(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, flag = tmp_path / "run", ["--plugin", str(plugin)]
    words = ["train", "digits", "--no-conditional", "--run-dir", str(run), *TINY, "--network", "plugged_in:width=4"]
    assert main([*flag, *words, "--network.width=6", "--objective", "edm:p_mean=-0.3", "--sigma-data=0.7"]) == 0
    config = TrainingConfig.load(run / "config.yaml")
    assert parts.to_text(config.network) == "plugged_in:width=6"
    assert config.objective == ed.objectives.EDM(p_mean=-0.3, sigma_data=0.7)
    assert config.preconditioning == ed.preconditioning.EDM(sigma_data=0.7)
    assert (
        main([*flag, "sample", str(run / "model"), "--seeds", "0-2", "--n", "2", "--out", str(tmp_path / "out")]) == 0
    )
    model = ed.load(run / "model")
    assert (model.sample_shape, sum(weight.numel() for weight in model.network.parameters())) == ((1, 8, 8), 169)
    assert model(torch.zeros(1, 1, 8, 8), 1.0).isfinite().all()
    capsys.readouterr()

    parts.registry.PARTS["network"].pop("plugged_in")
    os.environ.pop(plugins.VARIABLE)
    assert main(["sample", str(run / "model"), "--seeds", "0", "--out", str(tmp_path / "other")]) == 2
    said = capsys.readouterr().err.strip()
    assert "there is no network 'plugged_in'" in said
    assert "--plugin MODULE" in said
    assert "\n" not in said
    assert not (tmp_path / "other").exists()


def test_flags_of_a_part_that_is_exchanged_are_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "train", "digits", "--run-dir", str(tmp_path / "run"), *TINY, "--lr-decay.share=0.5",
        "--network=mp_unet:base_channels=8,channel_multipliers=1,blocks_per_level=1", "--lr-decay", "cooldown",
        "--network.attention-resolutions", "8", "--augment", "p=0.1,xflip=1", "--preconditioning", "ve",
        "--objective", "ve",
    )  # fmt: skip
    assert main(list(words)) == 0
    config = TrainingConfig.load(tmp_path / "run" / "config.yaml")
    assert config.network == ed.networks.MPUNetSettings(8, (1,), 1, (8,))
    assert config.lr_decay == Cooldown(0.5)
    assert config.augment == ed.augment.Augment(p=0.1, xflip=1)
    described = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    assert described["network"]["part"]["type"] == "mp_unet"
    assert described["network"]["augment_dim"] == 1
    assert described["preconditioning"] == {"type": "ve", "sigma_min": 0.02, "sigma_max": 100.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--network", "addm"), "there is no network 'addm'; did you mean 'adm'?"),
        (("--network", "adm:width=3"), "network adm has no setting 'width'"),
        (("--network",), "--network needs a part, NAME or NAME:SETTING=VALUE,..."),
        (("--objective", "ve", "--p-mean", "-1"), "the objective ve has no setting 'p_mean'"),
        (("--objective=ve", "--preconditioning=ve", "--sigma-data=1"), "sigma_data would have no effect"),
        (("--network", "adm", "--network.embedding", "fourier"), "--network.embedding"),
        (("--lr-decay", "cooldown:share=2"), "share is 2.0, but must be"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "digits", "--run-dir", str(tmp_path / "run"), *TINY, *words]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "run").exists()
