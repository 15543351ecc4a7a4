"""Jobs that are stopped, damaged or disturbed end with the bytes of one that was not."""

from __future__ import annotations

import os
import random
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.sampling import Sampler
from elucidiff.sampling.jobs import OUTPUTS, Outcome, run_job
from elucidiff.sampling.jobs.outputs import Archives
from tests.sampling.jobs.tiny import Heard, Shrink, contents, task


def run(path: Path, seeds: str = "0-99", **settings: Any) -> Outcome:
    outcome = run_job(lambda index: task(seeds, **settings), path)
    assert outcome is not None
    return outcome


def test_samples_are_those_of_the_sampler(tmp_path: Path) -> None:
    outcome = run(tmp_path / "job", output="folder", pictures=False, labels=torch.tensor([2, 0, 1]))
    labels = [(2, 0, 1)[k % 3] for k in range(100)]
    expected = Sampler(steps="karras:n=3", solver="euler").run(Shrink(), range(100), labels, batch_size=4)
    drawn = np.stack([np.load(tmp_path / "job" / f"{seed:08d}.npy") for seed in range(100)])
    np.testing.assert_array_equal(drawn, expected.x.float().numpy())
    assert (outcome.done, outcome.drawn, outcome.interrupted) == (100, 100, None)
    entries = [entry for k in range(10) for entry in outcome.folder.record(k)["entries"]]
    assert [entry["seed"] for entry in entries] == list(range(100))
    assert [entry["label"] for entry in entries] == labels


@pytest.mark.parametrize("output", list(OUTPUTS))
def test_signals_at_random_moments_change_nothing(tmp_path: Path, output: str) -> None:
    run(tmp_path / "unbroken", output=output)
    chance, sessions, path = random.Random(output), 0, tmp_path / "broken"
    done = 0
    while done < 100:
        number = chance.choice([signal.SIGINT, signal.SIGTERM])
        heard = Heard(done + chance.randrange(25), lambda number=number: os.kill(os.getpid(), number))
        outcome = run_job(lambda index: task(output=output), path, callbacks=heard)
        assert outcome is not None
        assert outcome.done >= done
        assert outcome.interrupted == (None if outcome.done == 100 else number.name)
        done, sessions = outcome.done, sessions + 1
    assert sessions > 3
    assert contents(path) == contents(tmp_path / "unbroken")


def test_only_what_is_damaged_is_drawn_again(tmp_path: Path) -> None:
    run(tmp_path / "job")
    before = contents(tmp_path / "job")
    damaged = bytearray(before["000003.tar"])
    damaged[700] ^= 1
    (tmp_path / "job" / "000003.tar").write_bytes(damaged)
    (tmp_path / "job" / "000008.tar").unlink()
    (tmp_path / "job" / "records" / "000005.json").unlink()
    heard = Heard()
    outcome = run_job(lambda index: task(), tmp_path / "job", callbacks=heard)
    assert outcome is not None
    assert outcome.drawn == 30
    assert contents(tmp_path / "job") == before
    assert heard.notes == [
        "going on: 90 of 100 samples are there",
        "shard 3 is drawn again: its checksum is not the recorded one",
        "shard 8 is drawn again: it is gone, or a part of it",
    ]
    assert heard.progress[0] == 90
    assert heard.progress[-1] == 100
    log = (tmp_path / "job" / "log.txt").read_text()
    assert log.count("finished: 100 samples") == 2
    assert "goes on in 1 process: 90 of 100 samples are there" in log


@pytest.mark.parametrize(("moment", "done"), [("going on", 100), ("drawn again", 90)])
def test_a_job_is_not_finished_before_its_shards_were_looked_at(tmp_path: Path, moment: str, done: int) -> None:
    run(tmp_path / "job")
    (tmp_path / "job" / "000003.tar").unlink()

    class Stopping(Heard):
        def on_note(self, text: str) -> None:
            if moment in text:
                os.kill(os.getpid(), signal.SIGTERM)

    outcome = run_job(lambda index: task(), tmp_path / "job", callbacks=Stopping())
    assert outcome is not None
    assert (outcome.done, outcome.interrupted) == (done, "SIGTERM")
    assert "finished" not in (tmp_path / "job" / "job.json").read_text()
    assert run(tmp_path / "job").drawn == 10


def test_a_job_that_is_done_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path / "job")
    before = contents(tmp_path / "job")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "job").glob("*.tar")}
    assert run(tmp_path / "job").drawn == 0
    assert contents(tmp_path / "job") == before
    assert {path: path.stat().st_mtime_ns for path in times} == times


class Burst(Shrink):
    """NaN for samples whose class is 2, from noise levels below 1 on."""

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        d = super().forward(x, sigma, labels)
        assert labels is not None
        level = torch.as_tensor(sigma).reshape(-1).expand(len(x))
        return torch.where(((labels[:, 2] > 0) & (level < 1))[:, None, None, None], torch.nan, d)


def test_a_network_that_is_not_finite_is_told_by_seed_and_step(tmp_path: Path) -> None:
    sampler = Sampler(steps="karras:n=6")
    first = int((sampler.sigmas(Burst()) < 1).nonzero()[0])  # where the solver first looks, at the end of a step
    labels = torch.zeros(100, dtype=torch.int64)
    labels[[37, 39, 64]] = 2
    with pytest.raises(ValueError, match="not finite") as caught:
        run(tmp_path / "job", denoiser=Burst(), labels=labels, sampler=sampler)
    level = float(sampler.sigmas(Burst())[first - 1])
    assert str(caught.value).startswith(
        f"seed 37 (and 1 of the 9 drawn with it) gave values that are not finite at step {first}, "
        f"from noise level {level:.4g}: check the model"
    )
    assert sorted(path.name for path in (tmp_path / "job").glob("*.tar")) == [f"{k:06d}.tar" for k in range(3)]
    assert "failed: seed 37" in (tmp_path / "job" / "log.txt").read_text()


def test_no_step_waits_for_the_device_to_see_whether_it_is_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    isfinite = Tensor.isfinite
    monkeypatch.setattr(Tensor, "isfinite", lambda x: looks.append(x.shape) or isfinite(x))
    run(tmp_path / "job", "0-3", shard_size=4)
    batches = [shape for shape in looks if len(shape) == 4]
    assert batches == [(4, 1, 4, 4)] * 2  # the latents and the samples


def test_a_full_disk_leaves_the_shards_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "unbroken")
    write = Archives.shard

    @contextmanager
    def full(output: Any, job: Path, index: int) -> Any:
        count = 0

        def some(sample: Any) -> None:
            nonlocal count
            if index == 4 and count == 6:
                raise OSError(28, "No space left on device", "somewhere")
            count += 1
            take(sample)

        with write(output, job, index) as take:
            yield some

    monkeypatch.setattr(Archives, "shard", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path / "job")
    whole = contents(tmp_path / "unbroken")
    left = contents(tmp_path / "job")
    del left["job.json"]
    expected = [name for k in range(4) for name in (f"{k:06d}.tar", f"records/{k:06d}.json")]
    assert left == {name: whole[name] for name in expected}
    monkeypatch.undo()
    run(tmp_path / "job")
    assert contents(tmp_path / "job") == whole


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    other: list[str] = []

    def second() -> None:
        with pytest.raises(ValueError, match="another process is writing to") as caught:
            run(tmp_path / "job")
        other.append(str(caught.value))

    outcome = run_job(lambda index: task(), tmp_path / "job", callbacks=Heard(50, second))
    assert outcome is not None
    assert outcome.done == 100
    assert len(other) == 1


@pytest.mark.parametrize("processes", [0, -2])
def test_bad_numbers_of_processes(tmp_path: Path, processes: int) -> None:
    with pytest.raises(ValueError, match=f"--processes is {processes}"):
        run_job(lambda index: task(), tmp_path / "job", processes=processes)
    assert not (tmp_path / "job").exists()


def test_threads_are_those_of_the_job_and_put_back(tmp_path: Path) -> None:
    seen = set()

    class Counting(Shrink):
        def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
            seen.add(torch.get_num_threads())
            return super().forward(x, sigma, labels)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run(tmp_path / "job", "0-3", denoiser=Counting())
        assert torch.get_num_threads() == 3
        run(tmp_path / "two", "0-3", denoiser=Counting(), threads=2)
    finally:
        torch.set_num_threads(before)
    assert seen == {1, 2}


def test_the_library_reads_back_what_it_drew(tmp_path: Path) -> None:
    run(tmp_path / "job", "0-9", output="zip", labels=torch.tensor([1, 2]))
    data = ed.data.open(tmp_path / "job" / "000000.zip")
    expected = Sampler(steps="karras:n=3", solver="euler").run(Shrink(), range(10), [1, 2] * 5, batch_size=4)
    assert torch.equal(data.images(), ed.sampling.to_uint8(expected.x))
