"""What is in a job's folder is told apart: this job, another one, something else; whole, damaged, missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from elucidiff.sampling import Sampler
from elucidiff.sampling.jobs import run_job
from tests.sampling.jobs.tiny import contents, task


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """The folder of a job that is done."""
    run_job(lambda index: task("0-29"), tmp_path / "done")
    return tmp_path / "done"


def test_the_manifest_tells_all(done: Path) -> None:
    described = json.loads((done / "job.json").read_text())
    assert described["job"] == task("0-29").job.identity()
    assert described["about"] == {"program": "a test"}
    assert described["finished"] == {"samples": 30, "nfe": 90}
    records = [json.loads(path.read_text()) for path in sorted((done / "records").iterdir())]
    assert [record["seeds"] for record in records] == ["0-9", "10-19", "20-29"]
    assert [record["name"] for record in records] == ["000000.tar", "000001.tar", "000002.tar"]
    assert {record["samples"] for record in records} == {10}
    assert all(record["nfe"] == {"total": 30, "least": 3, "most": 3} for record in records)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "000001.tar").unlink(), "it is gone"),
        (lambda folder: (folder / "000001.tar").write_bytes(b""), "its checksum is not the recorded one"),
        (lambda folder: (folder / "records" / "000001.json").write_text("{"), "its record is damaged"),
        (lambda folder: (folder / "records" / "000001.json").write_text("[]"), "its record is damaged"),
        (lambda folder: (folder / "records" / "000001.json").write_text('{"seeds": "0-9"}'), "that of other seeds"),
        (lambda folder: (folder / "records" / "000001.json").unlink(), "missing"),
    ],
)
def test_what_is_wrong_with_a_shard(done: Path, spoil: Callable[[Path], object], says: str) -> None:
    folder = task("0-29").folder(done)
    assert [folder.fault(folder.job.shard(k)) for k in range(3)] == [None] * 3
    spoil(done)
    assert folder.fault(folder.job.shard(0)) is None
    assert says in str(folder.fault(folder.job.shard(1)))


def test_another_job_is_refused_by_its_first_difference(done: Path) -> None:
    before = contents(done)
    task("0-29").folder(done).check()
    for other, says in (
        (task("0-28"), "whose seeds is 0-29, not 0-28"),
        (task("0-29", sampler=Sampler(steps="karras:n=3")), "whose sampler.solver.type is euler, not heun"),
        (task("0-29", facts={"model": "x"}), "whose model is None, not x"),
    ):
        with pytest.raises(ValueError, match=says):
            other.folder(done).check()
        with pytest.raises(ValueError, match=says):
            run_job(lambda index, other=other: other, done)  # type: ignore[misc]
    assert contents(done) == before


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("notes.txt", "mine", "already holds files"),
        ("job.json", "{}", "does not describe a sampling job"),
        ("job.json", "[", "does not describe a sampling job"),
        ("job.json", '{"format": "elucidiff-samples", "version": 9, "job": {}}', "has version 9"),
        ("job.json", '{"format": "elucidiff-samples", "version": 1, "job": 3}', "has version 1"),
    ],
)
def test_something_else_is_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=says):
        run_job(lambda index: task(), tmp_path)
    assert contents(tmp_path) == {name: text.encode()}


def test_overwriting_leaves_nothing_of_the_job_before(done: Path) -> None:
    (done / "mine.txt").write_text("stays")
    (done / "outside.json").write_text("stays")
    (done / "records" / "000007.json").write_text('{"name": "../mine.txt"}')
    (done / "records" / "000008.json").write_text('{"name": "outside.json"}')
    run_job(lambda index: task("0-9", output="subfolders"), done, overwrite=True)
    names = {path.name for path in done.iterdir()}
    assert names == {"000000", "job.json", "log.txt", "mine.txt", "outside.json", "records"}
    assert [path.name for path in (done / "records").iterdir()] == ["000000.json"]


def test_what_a_killed_process_left_is_cleared_away(done: Path) -> None:
    before = contents(done)
    (done / ".000001-0123abcd.tar").write_bytes(b"half")
    (done / ".000001-0123abcd").mkdir()
    (done / "records" / ".000001-0123abcd.json").write_bytes(b"half")
    (done / ".mine").write_bytes(b"no name of ours")
    run_job(lambda index: task("0-29"), done)
    assert contents(done) == {**before, ".mine": b"no name of ours"}
