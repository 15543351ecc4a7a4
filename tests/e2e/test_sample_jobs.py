"""Sampling jobs through the command line: their formats, mistakes, signals and kills at any moment."""

from __future__ import annotations

import json
import random
import signal
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import elucidiff as ed
from tests.e2e.conftest import Run
from tests.e2e.test_bad_input import refused
from tests.sampling.jobs.tiny import contents
from tests.training.launching import Group

ALONE = ("--processes", "1")
FAST = ("--n", "3", "--solver", "euler", "--device", "cpu")


def command(trained: Path, out: Path, seeds: str, *more: str) -> list[str]:
    return ["sample", str(trained / "model"), "--out", str(out), "--seeds", seeds, *FAST, *more]


def test_every_format_has_the_same_samples(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    for form in ("folder", "subfolders", "zip", "tar"):
        shards = () if form == "folder" else ("--shard-size", "20")
        done = elucidiff(*command(trained, tmp_path / form, "0-49", "--format", form, *shards))
        assert done.returncode == 0, done.stderr
        assert f"50 samples in {tmp_path / form}" in done.stdout
    loose = {path.name: path.read_bytes() for path in (tmp_path / "folder").glob("*.png")}
    assert len(loose) == 50
    archived: dict[str, bytes] = {}
    classes: dict[int, int] = {}
    for path in sorted((tmp_path / "tar").glob("*.tar")):
        with tarfile.open(path) as archive:
            for entry in archive:
                content = archive.extractfile(entry).read()  # type: ignore[union-attr]
                if entry.name.endswith(".png"):
                    archived[entry.name] = content
                else:
                    classes[int(entry.name.split(".")[0])] = int(content)
    assert archived == loose
    assert {path.name: path.read_bytes() for path in (tmp_path / "subfolders").glob("*/*.png")} == loose
    listed = json.loads((tmp_path / "folder" / "samples.json").read_text())["samples"]
    assert classes == {entry["seed"]: entry["label"] for entry in listed}
    data = ed.data.open(tmp_path / "subfolders")
    assert [int(torch.as_tensor(data[k][1]).argmax()) for k in range(50)] == [classes[k] for k in range(50)]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--format", "tarr"), "--format"),
        (("--format", "tar", "--shard-size", "0"), "shard size is 0, but must be at least 1"),
        (("--format", "tar", "--shard-size", "-5"), "shard size is -5"),
        (("--shard-size", "5"), "--shard-size would have no effect"),
        (("--format", "zip", "--grid"), "--grid shows the files of --format folder"),
        (("--processes", "0"), "--processes is 0, but must be at least 1, or auto"),
        (("--processes", "some"), "--processes is 'some', but must be a number, or auto"),
        (("--threads", "0"), "threads is 0"),
        (("--seeds", "0-9,5-7"), "seeds overlap at 5"),
        (("--seeds", "0-3000000000,77"), "seeds overlap at 77"),
        (("--labels", "0-4294967295"), "class 4294967295 is out of range"),
        (("--seeds", "0-3", "--labels", "0-4"), "there are 5 labels for 4 seeds"),
        (("--labels", "FILE"), "holds 7 labels for 64 seeds"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    elucidiff: Run, trained: Path, tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    np.save(tmp_path / "labels.npy", np.arange(7))
    given = [str(tmp_path / "labels.npy") if flag == "FILE" else flag for flag in flags]
    assert says in refused(elucidiff, "sample", trained / "model", "--out", tmp_path / "out", *given)
    assert not (tmp_path / "out").exists()


def test_another_job_is_left_alone(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    words = command(trained, tmp_path / "out", "0-9", "--format", "tar")
    assert elucidiff(*words).returncode == 0
    before = contents(tmp_path / "out")
    line = refused(elucidiff, *words, "--churn", "1")
    assert "out holds another job, whose sampler.churn is None, not {'type': 'churn', 'amount': 1.0, " in line
    assert "choose another --out, or add --over" in line
    assert contents(tmp_path / "out") == before
    again = elucidiff(*words)
    assert again.returncode == 0
    assert "10 samples in" in again.stdout
    assert "all were there" in again.stdout
    assert elucidiff(*words, "--churn", "1", "--overwrite").returncode == 0
    assert contents(tmp_path / "out")["000000.tar"] != before["000000.tar"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
@pytest.mark.parametrize("count", [1, 2])
def test_a_signal_keeps_what_is_done(
    elucidiff: Run, trained: Path, tmp_path: Path, number: signal.Signals, code: int, count: int
) -> None:
    words = command(trained, tmp_path / "out", "0-1999", *(ALONE if count == 1 else ()))
    group = Group(words, count, tmp_path / "said")
    while recorded(tmp_path / "out") < 3:
        assert group.alive()
        time.sleep(0.005)
    group.send(number)
    ended = group.wait()
    assert [one.code for one in ended] == [code if rank == 0 else 0 for rank in range(count)], ended
    (line,) = [row for row in "".join(one.said for one in ended).splitlines() if "stopped by" in row]
    assert f"stopped by {number.name}, " in line
    assert f" of 2,000 samples are in {tmp_path / 'out'}; the same command goes on from here" in line
    done = int(line.split(f"{number.name}, ")[1].split()[0].replace(",", ""))
    assert 64 * 3 <= done < 2000
    assert len(list((tmp_path / "out").glob("*.png"))) >= done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "flags", "kills"),
    [(1, ALONE, 6), (2, (), 6), (1, ("--processes", "2"), 3)],
    ids=["alone", "launched", "spawned"],
)
def test_killed_at_any_moment(trained: Path, tmp_path: Path, count: int, flags: tuple[str, ...], kills: int) -> None:
    """SIGKILL while a shard is written or just after, in one process or two; the rest is done by another number."""
    shards = ("--format", "tar", "--shard-size", "50")
    unbroken = Group(command(trained, tmp_path / "unbroken", "0-1199", *shards, *ALONE), 1, tmp_path / "said")
    out, chance, torn = tmp_path / "killed", random.Random(count), 0
    assert [ended.code for ended in unbroken.wait(200)] == [0]
    for _ in range(kills):
        before = recorded(out)
        group = Group(command(trained, out, "0-1199", *shards, *flags), count, tmp_path / "said")
        while recorded(out) <= before or not list(out.glob(".*.tar")):
            assert group.alive(), group.wait()
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        group.send(signal.SIGKILL)
        group.wait()
        torn += bool(list(out.glob(".*.tar")))
    assert torn >= kills // 3
    assert recorded(out) < 24
    others = Group(
        command(trained, out, "0-1199", *shards, *(() if count == 1 else ALONE)), 3 - count, tmp_path / "said"
    )
    assert {ended.code for ended in others.wait(200)} == {0}
    assert contents(out) == contents(tmp_path / "unbroken")


def recorded(out: Path) -> int:
    """How many shards are there."""
    return len(list(out.glob("records/[!.]*.json")))
