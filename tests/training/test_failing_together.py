"""What goes wrong in one of many processes ends all of them at once, with one line, and loses nothing."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from elucidiff.training import TrainingConfig
from tests.training.launching import Ended, Group
from tests.training.test_loop import assert_same_run
from tests.training.test_processes import tiny, trained, words


def said(ended: Sequence[Ended]) -> list[str]:
    """The lines that all of them printed."""
    return [line for each in ended for line in each.said.splitlines()]


def refused(group: Group) -> str:
    """The one line with which all end, long before any timeout."""
    begun = time.monotonic()
    ended = group.wait(60)
    assert time.monotonic() - begun < 50
    assert [each.code for each in ended] == [2] * len(ended), said(ended)
    lines = said(ended)
    assert len(lines) == 1, lines
    return lines[0]


class TestBeforeWorkStarts:
    def test_a_batch_that_cannot_be_divided(self, pictures: str, tmp_path: Path) -> None:
        config = tiny(pictures, batch_size=9, device_batch_size=None)
        line = refused(Group(words(config, tmp_path / "run"), 2, tmp_path))
        assert "batch_size is 9, but must be a multiple of the 2 processes" in line
        assert not (tmp_path / "run").exists()

    def test_a_share_that_cannot_be_divided(self, pictures: str, tmp_path: Path) -> None:
        config = tiny(pictures, batch_size=12, device_batch_size=4)
        line = refused(Group(words(config, tmp_path / "run"), 2, tmp_path))
        assert "device_batch_size is 4, but must divide the 6 images" in line

    def test_a_mistake_on_the_command_line(self, pictures: str, tmp_path: Path) -> None:
        line = refused(Group([*words(tiny(pictures), tmp_path / "run"), "--lr", "fast"], 2, tmp_path))
        assert "--lr" in line

    def test_data_that_only_one_of_them_finds(self, pictures: str, tmp_path: Path) -> None:
        here = words(tiny(pictures), tmp_path / "run")
        there = words(tiny(str(tmp_path / "missing.npz")), tmp_path / "run")
        line = refused(Group(here, 2, tmp_path, words_of={1: there}))
        assert "missing.npz" in line
        assert not (tmp_path / "run").exists()

    def test_data_that_differ(self, pictures: str, tmp_path: Path) -> None:
        with np.load(pictures) as arrays:
            images, labels = arrays["images"].copy(), arrays["labels"]
        images[7, 0, 1, 1] ^= 1
        np.savez(tmp_path / "pictures.npz", images=images, labels=labels)
        here = words(tiny(pictures), tmp_path / "run")
        there = words(tiny(str(tmp_path / "pictures.npz")), tmp_path / "run")
        line = refused(Group(here, 2, tmp_path, words_of={1: there}))
        assert "process 1 has data.sha256 " in line
        assert not (tmp_path / "run").exists()

    def test_settings_that_differ(self, pictures: str, tmp_path: Path) -> None:
        here = words(tiny(pictures), tmp_path / "run")
        line = refused(Group(here, 2, tmp_path, words_of={1: [*here, "--lr", "1"]}))
        assert "process 1 has settings.lr 1.0, but process 0 has 0.002: all processes need the same" in line

    def test_a_folder_that_holds_a_run(self, pictures: str, tmp_path: Path) -> None:
        config = tiny(pictures, duration_images=8)
        trained(config, tmp_path / "run", 1)
        before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        assert "holds a run already" in refused(Group(words(config, tmp_path / "run"), 2, tmp_path))
        assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_full_disk(pictures: str, tmp_path: Path) -> None:
    """Process 0 cannot write its next checkpoint: the last one stays, and a larger disk goes on from there."""
    config = tiny(pictures, lr_decay="constant")  # a longer run with a decay would say how its rate leaps
    trained(dataclasses.replace(config, duration_images=40), tmp_path / "run", 2)
    good = {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()}
    again = words(config, tmp_path / "run", "--resume")
    line = refused(Group(again, 2, tmp_path, file_limit=50_000))
    assert str(tmp_path / "run") in line
    assert {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()} == good
    trained(config, tmp_path / "run", 2, "--resume")


class TestRestartedByALauncher:
    """torchrun starts a group again, with the same words, in which nothing is said of resuming."""

    def test_goes_on_from_the_last_checkpoint(self, pictures: str, tmp_path: Path) -> None:
        config = tiny(pictures, checkpoint_images=16, log_images=24)
        again = words(config, tmp_path / "run")
        group = Group(again, 2, tmp_path)
        after_steps(tmp_path / "run", group)
        group.processes[1].kill()
        group.wait()
        restarted = Group(again, 2, tmp_path, after=group)
        assert [each.code for each in restarted.wait()] == [0, 0]
        assert_same_run(tmp_path / "run", trained(config, tmp_path / "unbroken", 2))

    def test_starts_what_had_not_begun(self, pictures: str, tmp_path: Path) -> None:
        again = words(tiny(pictures, duration_images=8), tmp_path / "run")
        group = Group(again, 2, tmp_path)
        group.send(signal.SIGKILL)
        group.wait()
        assert [each.code for each in Group(again, 2, tmp_path, after=group).wait()] == [0, 0]

    def test_never_goes_on_with_a_run_that_it_was_refused(self, pictures: str, tmp_path: Path) -> None:
        trained(tiny(pictures, duration_images=8), tmp_path / "run", 1)
        longer = words(tiny(pictures, duration_images=16), tmp_path / "run")
        group = Group(longer, 2, tmp_path)
        assert "holds a run already" in refused(group)
        assert "holds a run already" in refused(Group(longer, 2, tmp_path, after=group))


def endless(pictures: str) -> TrainingConfig:
    return tiny(pictures, duration_images=10**9, checkpoint_images=10**8, log_images=8)


def after_steps(run_dir: Path, group: Group, lines: int = 2) -> None:
    """Wait until some steps are done."""
    log = run_dir / "metrics.jsonl"
    end = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().splitlines()) >= lines):
        assert group.alive(), said(group.wait())
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_that_is_killed_ends_the_other(pictures: str, tmp_path: Path) -> None:
    group = Group(words(endless(pictures), tmp_path / "run"), 2, tmp_path)
    after_steps(tmp_path / "run", group)
    group.processes[1].kill()
    begun = time.monotonic()
    first, second = group.wait(60)
    assert time.monotonic() - begun < 30
    assert (first.code, second.code) == (2, -9)
    assert [line for line in said([first, second]) if "killed, or its machine is gone" in line] == said([first])


@pytest.mark.parametrize(
    ("number", "to", "code"), [(signal.SIGTERM, "all", 0), (signal.SIGTERM, "one", 0), (signal.SIGINT, "all", 130)]
)
def test_a_signal_stops_all_after_the_same_step(
    pictures: str, tmp_path: Path, number: signal.Signals, to: str, code: int
) -> None:
    group = Group(words(endless(pictures), tmp_path / "run"), 2, tmp_path)
    after_steps(tmp_path / "run", group)
    if to == "all":
        group.send(number)
        time.sleep(0.02)
        group.send(number)  # as launchers do: what the terminal has sent already, they pass on
    else:
        assert group.processes[1].pid is not None
        group.processes[1].terminate()
    ended = group.wait(60)
    assert [each.code for each in ended] == [code, code], said(ended)
    assert sum("all work is saved" in line for line in said(ended)) == 1
    assert len(list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))) == 1
