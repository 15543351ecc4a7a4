"""``--batch-size auto``: measured once, then kept by the job, in all of its processes and sessions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch.distributed as dist

from elucidiff.cli.main import main
from elucidiff.launch.coordination import NoticeBoard
from elucidiff.sampling.jobs import BatchSize, Callbacks, Task, automatic
from tests.sampling.jobs.tiny import contents, task
from tests.sampling.tiny_model import save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("batch") / "model")


class Measured:
    """Stands for the measurement, and counts how often it was made."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = list(sizes)
        self.processes: list[int] = []

    def __call__(self, task: Task, processes: int) -> BatchSize:
        self.processes.append(processes)
        return BatchSize(self.sizes.pop(0), {1: 2.5, 2: 12.0}, "larger ones gain nothing")


def sample(model: Path, out: Path, *more: str) -> int:
    common = ("--device", "cpu", "--n", "2", "--format", "zip", "--shard-size", "10")
    return main(["sample", str(model), "--out", str(out), *common, *more])


def test_a_job_keeps_what_was_measured_first(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = Measured(8, 4)
    monkeypatch.setattr(automatic, "fastest_batch_size", measured)
    auto = ("--batch-size", "auto")
    out = tmp_path / "auto"
    assert sample(model, out, *auto, "--seeds", "0-39", "--processes", "1") == 0
    assert "batch size 8: one process evaluates 2.50 with 1, 12 with 2 in a second" in capsys.readouterr().err
    assert json.loads((out / "job.json").read_bytes())["job"]["batch_size"] == 8

    # The same job, a part of which was lost, and another one.
    before = contents(out)
    (out / "000001.zip").unlink()
    assert sample(model, out, *auto, "--seeds", "0-39", "--processes", "1") == 0
    assert contents(out) == before
    assert sample(model, out, *auto, "--seeds", "0-38", "--processes", "1") == 2
    assert "holds another job, whose seeds is 0-39, not 0-38" in capsys.readouterr().err
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "mine.txt").touch()
    assert sample(model, tmp_path / "else", *auto, "--seeds", "0-39") == 2
    assert measured.processes == [1]

    assert sample(model, tmp_path / "given", "--batch-size", "8", "--seeds", "0-39", "--processes", "1") == 0
    assert {k: v for k, v in contents(tmp_path / "given").items() if k != "job.json"} == {
        k: v for k, v in before.items() if k != "job.json"
    }

    assert sample(model, out, *auto, "--seeds", "0-39", "--processes", "1", "--overwrite") == 0
    assert json.loads((out / "job.json").read_bytes())["job"]["batch_size"] == 4
    assert measured.processes == [1, 1]


@pytest.mark.parametrize("given", ["many", "1.5"])
def test_bad_sizes_are_refused(given: str, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample(model, tmp_path / "out", "--batch-size", given) == 2
    assert capsys.readouterr().err == (
        f"elucidiff sample: error: --batch-size is {given!r}, but must be a number, or auto\n"
    )
    assert sample(model, tmp_path / "out", "--batch-size", "0") == 2
    assert "--batch-size is 0, but must be at least 1" in capsys.readouterr().err


def test_launched_processes_take_the_word_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Measured(8)
    monkeypatch.setattr(automatic, "fastest_batch_size", measured)
    store = dist.HashStore()
    prepared: list[int | None] = []

    def prepare(size: int, index: int | None) -> Task:
        prepared.append(index)
        return task("0-99", batch_size=size)

    monkeypatch.setenv("LOCAL_RANK", "0")
    for rank in range(2):
        board = NoticeBoard(store, rank, 2)
        monkeypatch.setattr(automatic, "notice_board", lambda board=board: board)
        assert automatic.batch_size_for(tmp_path / "none", "auto", None, prepare, Callbacks().on_note) == 8
    assert prepared == [0], "only the first measures, on a device of its own"
    assert measured.processes == [2]
