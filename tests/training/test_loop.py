"""Whole runs on tiny networks: what they write, how they stop, and that resuming changes not a bit."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from elucidiff.augment import Augment
from elucidiff.cli.main import main
from elucidiff.denoisers.model_folder import load
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.launch.output_folder import held
from elucidiff.networks import DDPMPPSettings, MPUNetSettings
from elucidiff.training import Callbacks, Progress, TrainingConfig, preset, train
from elucidiff.training.batches import TrainingData
from elucidiff.training.checkpoint import CheckpointFolder
from elucidiff.training.checks import validate
from elucidiff.training.state import TrainingState


def tiny(data: str, **settings: Any) -> TrainingConfig:
    """Twenty steps of everything there is: labels, dropout, augmentation, averages, held-out images."""
    network = DDPMPPSettings(
        base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=(8,), dropout=0.1,
        label_dropout=0.1,
    )  # fmt: skip
    defaults = {
        "data": data, "conditional": True, "validation_images": 8, "memorisation_samples": 4, "network": network,
        "augment": Augment(p=0.3, xflip=1e8, scale=1.0, translate_frac=1.0), "duration_images": 80,
        "batch_size": 4, "device_batch_size": 2, "lr": 2e-3, "lr_ramp_images": 16.0, "lr_decay": "cosine",
        "ema_half_life_images": 20.0, "ema_widths": (0.1,), "log_images": 12, "checkpoint_images": 20,
        "keep_checkpoints": 3, "device": "cpu",
    }  # fmt: skip
    return TrainingConfig(**(defaults | settings))


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: line[key] for key in line if key not in ("seconds", "images_per_second")} for line in lines]


def last_checkpoint(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted((run_dir / "checkpoints").glob("*.safetensors"))[-1])


def assert_same_run(first: Path, second: Path) -> None:
    """Equal to the bit: weights, averages, moments, model and log."""
    one, other = last_checkpoint(first), last_checkpoint(second)
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
    models = [(path / "model" / "model.safetensors").read_bytes() for path in (first, second)]
    assert models[0] == models[1]
    assert timeless(metrics(first)) == timeless(metrics(second))


class StopAfter(Callbacks):
    """Sends this process a signal after some steps."""

    def __init__(self, steps: int, number: signal.Signals = signal.SIGINT) -> None:
        self.steps, self.number = steps, number

    def on_progress(self, progress: Progress) -> None:
        if progress.step == self.steps:
            os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def unbroken(pictures: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "unbroken"
    train(tiny(pictures), run_dir)
    return run_dir


def test_what_a_run_leaves(unbroken: Path, pictures: str) -> None:
    assert TrainingConfig.load(unbroken / "config.yaml") == tiny(pictures)
    assert len(list(unbroken.glob("events.out.tfevents.*"))) == 1
    names = sorted(path.name for path in (unbroken / "checkpoints").glob("*.safetensors"))
    assert names == ["000000000040.safetensors", "000000000060.safetensors", "000000000080.safetensors"]
    lines = metrics(unbroken)
    assert [line["images"] for line in lines if "loss" in line] == [12, 24, 36, 48, 60, 72]
    assert [line["images"] for line in lines if "validation_loss" in line] == [20, 40, 60, 80]
    assert all(0 < line["loss"] < 10 for line in lines if "loss" in line)
    assert lines[0]["lr"] == pytest.approx(2e-3 * (8 / 16) * 0.5 * (1 + np.cos(np.pi * 8 / 80)), rel=1e-9)


def test_the_model_folder_holds_the_average_and_its_facts(unbroken: Path) -> None:
    model = load(unbroken / "model")
    average = {
        name.removeprefix("ema."): value
        for name, value in last_checkpoint(unbroken).items()
        if name.startswith("ema.")
    }
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, average[name])
    assert model.label_dim == 2
    facts = model.facts["data"]
    assert (facts["name"], facts["shape"], facts["count"]) == ("pictures", [1, 8, 8], 50)
    with np.load(json.loads(json.dumps(model.facts["provenance"]["training"]["data"]))) as arrays:
        images = arrays["images"] / 127.5 - 1
    assert facts["sigma_data"] == pytest.approx(images.std(), rel=1e-6)
    assert facts["mean"] == pytest.approx(images.mean(), abs=1e-6)
    assert model.facts["provenance"]["images_seen"] == 80


@pytest.mark.parametrize("steps", [1, 7, 10, 19])
def test_interrupted_and_resumed_is_unbroken(steps: int, unbroken: Path, pictures: str, tmp_path: Path) -> None:
    stopped = train(tiny(pictures), tmp_path, callbacks=StopAfter(steps))
    assert (stopped.interrupted, stopped.images_seen, stopped.step) == ("SIGINT", 4 * steps, steps)
    finished = train(tiny(pictures), tmp_path, resume=True)
    assert (finished.interrupted, finished.images_seen) == (None, 80)
    assert finished.seconds > stopped.seconds
    # Where it stopped there is one more line about the held-out images.
    lines = [line for line in metrics(tmp_path) if "loss" in line or line["images"] % 20 == 0]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert_same_run(tmp_path, unbroken)


def test_resumed_with_learned_loss_weighting_is_unbroken(pictures: str, tmp_path: Path) -> None:
    network = MPUNetSettings(8, (1,), 1, (8,), dropout=0.1, label_dropout=0.1)
    config = tiny(
        pictures, network=network, learned_loss_weighting=True, lr_decay="cooldown", duration_images=40,
        checkpoint_images=8, log_images=8,
    )  # fmt: skip
    train(config, tmp_path / "unbroken")
    assert train(config, tmp_path / "stopped", callbacks=StopAfter(6)).images_seen == 24
    train(config, tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", tmp_path / "unbroken")
    moved = last_checkpoint(tmp_path / "stopped")["loss_weighting.linear.weight"]
    assert moved.abs().max() > 1e-4
    assert load(tmp_path / "stopped" / "model").network.blueprint.part == network


def test_sigterm_is_named(pictures: str, tmp_path: Path) -> None:
    assert train(tiny(pictures), tmp_path, callbacks=StopAfter(3, signal.SIGTERM)).interrupted == "SIGTERM"
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "000000000012.safetensors",
        "000000000012.sha256",
    ]


def test_a_run_does_not_touch_the_global_random_state(pictures: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    train(tiny(pictures, duration_images=8), tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


_SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from elucidiff.training import TrainingConfig, train
train(TrainingConfig.load(sys.argv[1]), sys.argv[2], resume=sys.argv[3] == "resume")
"""


def start(config: Path, run_dir: Path) -> subprocess.Popen[str]:
    mode = "resume" if (run_dir / "config.yaml").exists() else "new"
    return subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(config), str(run_dir), mode],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kills", [4])
def test_killed_at_random_and_resumed_is_unbroken(kills: int, pictures: str, tmp_path: Path) -> None:
    """SIGKILL, which nothing can prepare for, at any moment: in a step, in a checkpoint, in between."""
    config = tmp_path / "config.yaml"
    tiny(pictures, duration_images=600, checkpoint_images=24, log_images=20).save(config)
    process = start(config, tmp_path / "unbroken")
    assert process.wait() == 0, process.stderr.read() if process.stderr else ""
    chance = random.Random(0)
    killed, finished = 0, False
    while not finished:
        process = start(config, tmp_path / "killed")
        log = tmp_path / "killed" / "metrics.jsonl"
        before = log.read_text() if log.exists() else ""
        while process.poll() is None and (killed == kills or not log.exists() or log.read_text() == before):
            time.sleep(0.002)
        if killed < kills:
            time.sleep(chance.uniform(0.0, 0.2))
            process.kill()
        code = process.wait()
        killed, finished = killed + (code == -signal.SIGKILL), code == 0
        assert code in (0, -signal.SIGKILL), process.stderr.read() if process.stderr else ""
    assert killed == kills
    assert_same_run(tmp_path / "killed", tmp_path / "unbroken")


_WITH_WORKERS = """
import sys, torch
torch.set_num_threads(1)
from elucidiff.training import Callbacks, TrainingConfig, batches, train
batches._MEMORY_BYTES = 0
class Tell(Callbacks):
    def on_progress(self, progress):
        print(progress.step, flush=True)
print(train(TrainingConfig.load(sys.argv[1]), sys.argv[2], callbacks=Tell()).interrupted)
"""


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_reaches_all_processes_and_stops_cleanly(pictures: str, tmp_path: Path) -> None:
    tiny(pictures, duration_images=10**9, compile="off").save(tmp_path / "config.yaml")
    process = subprocess.Popen(
        [sys.executable, "-c", _WITH_WORKERS, str(tmp_path / "config.yaml"), str(tmp_path / "run")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 3:
            break
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert output.splitlines()[-1] == "SIGINT"
    assert "Traceback" not in errors
    assert len(list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))) == 1


def test_a_checkpoint_of_another_version_is_refused(pictures: str, tmp_path: Path) -> None:
    config = tiny(pictures, duration_images=20)
    train(config, tmp_path)
    folder = CheckpointFolder(tmp_path / "checkpoints")
    found = folder.newest()
    assert found is not None
    tensors = {name.replace("network.stem", "network.entry"): value for name, value in found.tensors.items()}
    folder.save(dataclasses.replace(found, tensors=tensors))
    with pytest.raises(ValueError, match="another version of this program"):
        train(config, tmp_path, resume=True)


def test_settings_that_must_not_change(unbroken: Path, pictures: str) -> None:
    base = tiny(pictures)
    for changed, name in [
        (dataclasses.replace(base, lr=1e-4), "lr 0.002, now it is 0.0001"),
        (dataclasses.replace(base, seed=1), "seed 0, now it is 1"),
        (
            dataclasses.replace(base, network=dataclasses.replace(base.network, base_channels=16)),
            "network.base_channels 8, now it is 16",
        ),
        (dataclasses.replace(base, augment=Augment()), "augment.p 0.3, now it is 1.0"),
    ]:
        with pytest.raises(ValueError, match="cannot resume .* settings had " + name.replace(".", r"\.")):
            train(changed, unbroken, resume=True)


def test_another_data_set_is_refused(unbroken: Path, pictures: str, tmp_path: Path) -> None:
    with np.load(pictures) as arrays:
        images, labels = arrays["images"].copy(), arrays["labels"]
    images[17, 0, 3, 3] ^= 1
    np.savez(tmp_path / "pictures.npz", images=images, labels=labels)
    with pytest.raises(ValueError, match=r"cannot resume .*data set had sha256"):
        train(tiny(str(tmp_path / "pictures.npz")), unbroken, resume=True)
    np.savez(tmp_path / "pictures.npz", images=images[:40], labels=labels[:40])
    with pytest.raises(ValueError, match=r"cannot resume .*data set had count 50, now it is 40"):
        train(tiny(str(tmp_path / "pictures.npz")), unbroken, resume=True)


def test_a_finished_run_can_be_extended(pictures: str, tmp_path: Path) -> None:
    train(tiny(pictures, duration_images=20), tmp_path)
    assert train(tiny(pictures, duration_images=20), tmp_path, resume=True).step == 5
    assert train(tiny(pictures, duration_images=40), tmp_path, resume=True).step == 10


def test_a_damaged_checkpoint_costs_the_images_since_the_one_before(pictures: str, tmp_path: Path) -> None:
    train(tiny(pictures, duration_images=40), tmp_path)
    newest = tmp_path / "checkpoints" / "000000000040.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    seen: list[int] = []

    class Watch(Callbacks):
        def on_progress(self, progress: Progress) -> None:
            seen.append(progress.images_seen)

    with pytest.warns(UserWarning, match="000000000040"):
        train(tiny(pictures, duration_images=40), tmp_path, resume=True, callbacks=Watch())
    assert seen[0] == 24
    assert train(tiny(pictures, duration_images=40), tmp_path, resume=True).images_seen == 40


def test_a_full_disk_ends_the_run_and_leaves_the_last_good_checkpoint(
    pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny(pictures, duration_images=40), tmp_path)
    before = last_checkpoint(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("safetensors.torch.save_file", full)
        with pytest.raises(OSError, match="No space left"):
            train(tiny(pictures), tmp_path, resume=True)
    after = last_checkpoint(tmp_path)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert train(tiny(pictures), tmp_path, resume=True).images_seen == 80


class TestRefusedBeforeWorkStarts:
    @pytest.mark.parametrize("resume", [False, True])
    def test_a_folder_that_another_process_writes_to(
        self, resume: bool, unbroken: Path, pictures: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """In one line, with exit code 2; afterwards the folder is free again, and as it was."""
        run = shutil.copytree(unbroken, tmp_path / "run") if resume else tmp_path / "run"
        before = sorted(run.rglob("*"))
        settings = tmp_path / "settings.yaml"
        tiny(pictures, duration_images=4).save(settings)
        with held(run):
            words = ["train", str(settings), "--run-dir", str(run), *(["--resume"] if resume else [])]
            assert main(words) == 2
        assert f"another process is writing to {run}: wait until it ends" in capsys.readouterr().err
        assert set(run.rglob("*")) - set(before) <= {run / ".lock"}
        with held(run):
            pass

    def test_a_folder_that_holds_a_run(self, unbroken: Path, pictures: str) -> None:
        with pytest.raises(ValueError, match="holds a run already: resume it"):
            train(tiny(pictures), unbroken)

    def test_resuming_nothing(self, pictures: str, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="there is no run to resume"):
            train(tiny(pictures), tmp_path / "typo", resume=True)
        assert not (tmp_path / "typo").exists()

    @pytest.mark.parametrize("value", [-np.inf, np.inf])
    def test_data_that_are_infinite(self, value: float, tmp_path: Path) -> None:
        images = np.zeros((10, 1, 8, 8), np.float32)
        images[7, 0, 2, 2] = value
        np.save(tmp_path / "broken.npy", images)
        with pytest.raises(ValueError, match=r"broken.npy holds -?inf at \[7, 0, 2, 2\]"):
            train(TrainingConfig(data=str(tmp_path / "broken.npy"), device="cpu"), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_sizes_that_do_not_fit_the_network(self, tmp_path: Path) -> None:
        np.save(tmp_path / "odd.npy", np.zeros((10, 1, 9, 9), np.uint8))
        network = DDPMPPSettings(base_channels=8, channel_multipliers=(1, 1), blocks_per_level=1)
        with pytest.raises(ValueError, match="9x9 does not fit"):
            train(tiny(str(tmp_path / "odd.npy"), conditional=False, network=network), tmp_path / "run")

    def test_more_held_out_than_there_are(self, pictures: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="50 images leaves one part empty"):
            train(tiny(pictures, validation_images=50), tmp_path)

    def test_half_precision_without_cuda(self, pictures: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="fp16 needs CUDA"):
            train(tiny(pictures, precision="fp16"), tmp_path)

    def test_data_that_are_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            train(tiny("nowhere"), tmp_path)


def test_a_loss_that_is_no_longer_finite_ends_the_run(pictures: str, tmp_path: Path) -> None:
    """Nor is what came of it saved: the first two updates had finite losses, the next three had not."""
    config = tiny(pictures, lr=1e30, lr_ramp_images=0.0, log_images=8, checkpoint_images=20)
    with pytest.raises(ValueError, match=r"no longer finite .* lower lr than 1e\+30"):
        train(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_progress_by_minutes(pictures: str, tmp_path: Path) -> None:
    fractions: list[float] = []

    class Watch(Callbacks):
        def on_progress(self, progress: Progress) -> None:
            fractions.append(progress.fraction)

    result = train(tiny(pictures, duration_images=10**9, max_minutes=0.02), tmp_path, callbacks=Watch())
    assert result.interrupted is None
    assert 1.2 <= result.seconds < 30
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_preview_callback_gets_the_averaged_model(pictures: str, tmp_path: Path) -> None:
    calls: list[tuple[int, Path, tuple[int, ...]]] = []

    class Watch(Callbacks):
        def on_checkpoint(self, model: Denoiser, images_seen: int, run_dir: Path) -> None:
            assert not model.training
            calls.append((images_seen, run_dir, model.sample_shape))

    train(tiny(pictures, duration_images=30), tmp_path, callbacks=Watch())
    assert calls == [(20, tmp_path, (1, 8, 8)), (32, tmp_path, (1, 8, 8))]


@pytest.mark.slow
def test_real_digits_are_learnt(tmp_path: Path) -> None:
    """A small network, 10,000 images: the loss on held-out digits falls to less than half of the untrained one's."""
    config = dataclasses.replace(
        preset("digits"),
        network=DDPMPPSettings(
            base_channels=16, channel_multipliers=(1, 2), blocks_per_level=1, attention_resolutions=(), dropout=0.0
        ),
        duration_images=10_000,
        max_minutes=None,
        batch_size=64,
        lr_ramp_images=1_000.0,
        ema_half_life_images=1_000.0,
        device="cpu",
    )
    data = TrainingData.open(config)
    assert data.held_out is not None
    untrained = TrainingState(config, data.shape, data.label_dim, torch.device("cpu"))
    before = validate(untrained, untrained.model, data.held_out).mean
    train(config, tmp_path)
    after = metrics(tmp_path)[-1]["validation_loss"]
    assert after < 0.5 * before
