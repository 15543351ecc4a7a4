"""Whether compiling pays, what is kept of the choice, and that a compiled network trains like an eager one."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from elucidiff import networks
from elucidiff.denoisers.model_folder import load
from elucidiff.networks import DDPMPPSettings
from elucidiff.training import Callbacks, TrainingConfig, compilation, preset, train
from elucidiff.training.checkpoint import Checkpoint, CheckpointFolder
from elucidiff.training.compilation import PAYOFF, Payoff, compile_if_wanted, eager_seconds, training_flops
from elucidiff.training.state import TrainingState, make_network

CPU = torch.device("cpu")


def config(**settings: Any) -> TrainingConfig:
    network = DDPMPPSettings(
        base_channels=8, channel_multipliers=(1,), blocks_per_level=0, attention_resolutions=(), dropout=0.1,
        label_dropout=0.1,
    )  # fmt: skip
    defaults = {
        "data": "digits", "conditional": True, "network": network, "duration_images": 160, "batch_size": 16,
        "device_batch_size": 8, "lr": 2e-3, "lr_ramp_images": 16.0, "log_images": 16, "checkpoint_images": 80,
        "ema_half_life_images": 50.0, "device": "cpu",
    }  # fmt: skip
    return TrainingConfig(**(defaults | settings))


def test_flops_of_a_network_by_hand() -> None:
    """Without levels' blocks: products of the layers, two operations for each multiplication and addition."""
    network = networks.UNet.ddpmpp(
        (1, 4, 4), base_channels=8, channel_multipliers=(1,), blocks_per_level=0, attention_resolutions=()
    )
    with_counts = sum(
        2 * module.weight.numel() * (16 if module.weight.ndim == 4 or "attention" in name else 1)
        for name, module in network.named_modules()
        if isinstance(getattr(module, "weight", None), torch.Tensor) and module.weight.ndim > 1
    )
    attention = 2 * 2 * 16 * 16 * 8  # q k^T and weights times v, over 16 positions
    assert training_flops(network.blueprint) == 3 * (with_counts + attention)


def test_a_long_run_pays_and_a_short_one_does_not() -> None:
    payoff = Payoff(seconds=100.0, gain=1.25)
    assert not payoff.worth(999)
    assert payoff.worth(1001)  # a fifth of it is over twice 100 s


@pytest.mark.parametrize(("device", "pays"), [("cpu", False), ("cuda", True), ("mps", False)])
def test_twenty_minutes_are_short_for_a_processor(device: str, pays: bool) -> None:
    assert (device in PAYOFF and PAYOFF[device].worth(1200)) == pays


def test_length_of_a_run() -> None:
    """By the work and the clock, whichever ends it; the paper's CIFAR-10 run takes months on any processor."""
    settings = config(duration_images=1000)
    assert eager_seconds(settings, 10**9, torch.device("cuda")) == pytest.approx(0.1)
    half = dataclasses.replace(settings, precision="bf16")
    assert eager_seconds(half, 10**9, torch.device("cuda")) == pytest.approx(0.02)
    assert eager_seconds(dataclasses.replace(half, max_minutes=1.0), 10**15, torch.device("cuda")) == 60.0
    one = eager_seconds(settings, 10**9, CPU)
    assert eager_seconds(dataclasses.replace(settings, duration_images=2000), 10**9, CPU) == 2 * one
    cifar10 = preset("cifar10")
    flops = training_flops(make_network(cifar10, (3, 32, 32), 10, 9).blueprint)
    assert 100e9 < flops < 150e9
    assert PAYOFF["cpu"].worth(eager_seconds(cifar10, flops, CPU))


@pytest.mark.parametrize(("text", "expected"), [("on", "on"), ("off", "off"), ("'on'", "on"), ("auto", "auto")])
def test_switches_in_a_file(text: str, expected: str, tmp_path: Path) -> None:
    """YAML 1.1 reads on and off as true and false."""
    path = tmp_path / "config.yaml"
    path.write_text(f"data: digits\ncompile: {text}\nchannels_last: {text}\n")
    loaded = TrainingConfig.load(path)
    assert (loaded.compile, loaded.channels_last) == (expected, expected)
    loaded.save(path)
    assert TrainingConfig.load(path) == loaded


def test_the_guide_names_flags_and_figures_as_they_are() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "speed.md").read_text(encoding="utf-8")
    flags = set(re.findall(r"`--([a-z0-9-]+)", guide))
    fields = {entry.name.replace("_", "-") for entry in dataclasses.fields(TrainingConfig)}
    assert flags <= fields
    assert {"precision", "compile", "channels-last", "tf32", "loss-scale"} <= flags
    for device, payoff in PAYOFF.items():
        minutes = 2 * payoff.seconds / (1 - 1 / payoff.gain) / 60
        assert f"| {device.upper()} | {payoff.seconds:g} s | {payoff.gain:g} | {minutes:.0f} minutes |" in guide


class TestDecision:
    @pytest.fixture
    def compiled(self, monkeypatch: pytest.MonkeyPatch) -> list[TrainingState]:
        """States whose network would have been compiled."""
        states: list[TrainingState] = []
        monkeypatch.setattr(compilation, "_compile", lambda state: states.append(state))
        return states

    @pytest.mark.parametrize(
        ("setting", "images", "before", "expected"),
        [
            ("auto", 160, None, False),
            ("auto", 10**9, None, True),
            ("auto", 160, True, True),  # resumed: as it was, whatever the length is now
            ("auto", 10**9, False, False),
            ("on", 160, False, True),  # asked for
            ("off", 10**9, True, False),
        ],
    )
    def test_is_made_once(
        self, setting: Any, images: int, before: bool | None, expected: bool, compiled: list[TrainingState]
    ) -> None:
        state = TrainingState(config(compile=setting, duration_images=images), (1, 8, 8), 10, CPU)
        state.compiled = before
        compile_if_wanted(state, lambda text: None)
        assert state.compiled == expected
        assert compiled == [state] * expected

    def test_is_kept_in_checkpoints(self) -> None:
        state = TrainingState(config(), (1, 8, 8), 10, CPU)
        state.compiled = True
        other = TrainingState(config(), (1, 8, 8), 10, CPU)
        other.restore(state.checkpoint())
        assert other.compiled is True


@pytest.mark.parametrize("setting", ["auto", "on"])
def test_without_a_compiler(setting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Auto says so and goes on as it was, to the bit; on refuses."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("InvalidCxxCompiler: No working\nC++ compiler found")

    monkeypatch.setattr(compilation, "try_compiler", fail)
    state = TrainingState(config(compile=setting), (1, 8, 8), 10, CPU)
    before = {name: value.clone() for name, value in state.denoiser.state_dict().items()}
    state.compiled = True
    said: list[str] = []
    if setting == "on":
        with pytest.raises(ValueError, match=r"No working C\+\+ compiler found\): set compile to off"):
            compile_if_wanted(state, said.append)
        return
    compile_if_wanted(state, said.append)
    assert len(said) == 2
    assert "cannot be compiled here (InvalidCxxCompiler: No working C++ compiler found)" in said[1]
    assert state.denoiser.network._compiled_call_impl is None
    for name, value in state.denoiser.state_dict().items():
        assert torch.equal(value, before[name])


def test_trying_the_compiled_network_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some networks change their weights when they run; nor may gradients stay, or random numbers be used up."""
    state = TrainingState(config(compile="on"), (1, 8, 8), 10, CPU)
    before = {name: value.clone() for name, value in state.denoiser.state_dict().items()}
    run_once = compilation._run_once

    def run_and_change(state: TrainingState) -> None:
        run_once(state)
        with torch.no_grad():
            for parameter in state.denoiser.parameters():
                parameter.add_(1)

    monkeypatch.setattr(compilation, "try_compiler", lambda device: None)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: None)
    monkeypatch.setattr(compilation, "_run_once", run_and_change)
    random = torch.get_rng_state()
    compile_if_wanted(state, lambda text: None)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in state.denoiser.parameters())
    for name, value in state.denoiser.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert state.meter.summary().images == 0


class _Losses(Callbacks):
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.notes: list[str] = []

    def on_note(self, text: str) -> None:
        self.notes.append(text)

    def on_progress(self, progress: Any) -> None:
        self.losses.append(progress.loss)


@pytest.mark.slow
def test_compiled_training_is_eager_training_but_for_rounding(tmp_path: Path) -> None:
    """The same loss curve, dropout included; names without a prefix; equal bits after a resume with auto."""
    eager, compiled = _Losses(), _Losses()
    train(config(compile="off"), tmp_path / "eager", callbacks=eager)
    train(config(compile="on"), tmp_path / "compiled", callbacks=compiled)
    assert compiled.losses == pytest.approx(eager.losses, rel=1e-5)
    assert compiled.losses != eager.losses
    assert eager.notes == []
    assert compiled.notes == ["compiling the network: this takes minutes, and training is faster then"]

    train(config(compile="on", duration_images=80), tmp_path / "resumed")
    train(config(compile="auto"), tmp_path / "resumed", resume=True)
    unbroken, resumed = _last(tmp_path / "compiled"), _last(tmp_path / "resumed")
    assert unbroken.tensors.keys() == resumed.tensors.keys() == _last(tmp_path / "eager").tensors.keys()
    for name, value in unbroken.tensors.items():
        assert torch.equal(value, resumed.tensors[name]), name
    assert load(tmp_path / "compiled" / "model").network.state_dict().keys() == {
        name.removeprefix("ema.") for name in unbroken.tensors if name.startswith("ema.")
    }


def _last(run_dir: Path) -> Checkpoint:
    checkpoint = CheckpointFolder(run_dir / "checkpoints").newest()
    assert checkpoint is not None
    return checkpoint
