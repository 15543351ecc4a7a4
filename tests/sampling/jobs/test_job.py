"""A job is cut without overlap or hole, and differs where its files would."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elucidiff.sampling import Sampler, parse_seeds
from elucidiff.sampling.jobs import Job, shard_size_for
from tests.sampling.jobs.tiny import task


@given(st.integers(1, 60), st.integers(1, 25), st.integers(1, 7))
def test_shards_are_the_job(count: int, size: int, labels: int) -> None:
    job = Job(
        Sampler(), parse_seeds(f"7-{6 + count}"), torch.arange(min(labels, count)), shard_size=size, output="tar"
    )
    shards = [job.shard(k) for k in range(job.shards)]
    assert [seed for shard in shards for seed in shard.seeds] == list(job.seeds)
    assert all(len(shard.seeds) == size for shard in shards[:-1])
    asked = [job.labels_of(shard.start, shard.start + len(shard.seeds)) for shard in shards]
    assert torch.cat(asked).tolist() == [k % min(labels, count) for k in range(count)]


def test_jobs_are_the_same_if_their_files_are() -> None:
    job = task("0-9,10-19", labels=torch.tensor([0, 1])).job
    same = task("0-19", labels=torch.tensor([0, 1])).job
    assert job.identity() == same.identity() == json.loads(json.dumps(job.identity()))
    others: list[dict[str, Any]] = [
        {"sampler": Sampler(steps="karras:n=4", solver="euler")}, {"seeds": parse_seeds("0-18")},
        {"labels": torch.tensor([1, 0])},
        {"labels": None}, {"batch_size": 5}, {"threads": 2}, {"device": "cuda"}, {"pictures": False},
        {"output": "zip"}, {"shard_size": 11}, {"facts": {"model": "another"}},
    ]  # fmt: skip
    for other in others:
        assert dataclasses.replace(job, **other).identity() != job.identity(), other


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"batch_size": 0}, "batch size is 0, but must be at least 1"),
        ({"threads": -1}, "threads is -1, but must be at least 1"),
        ({"shard_size": 0}, "shard size is 0, but must be at least 1"),
        ({"output": "tra"}, "there is no format 'tra'; did you mean 'tar'?"),
        ({"seeds": "4,0-9"}, "seeds overlap at 4"),
        ({"seeds": "0-9,5-14"}, "seeds overlap at 5"),
        ({"labels": torch.zeros(101, dtype=torch.int64)}, "there are 101 labels for 100 seeds"),
        ({"labels": torch.zeros(0, dtype=torch.int64)}, "there are 0 labels"),
    ],
)
def test_bad_input(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        task(**settings)
    assert "\n" not in str(caught.value)


def test_shard_sizes_are_whole_batches() -> None:
    assert shard_size_for("tar", 10**6, 16) == 1008
    assert shard_size_for("tar", 10**6, 250) == 1000
    assert shard_size_for("folder", 64, 16) == 16
    assert shard_size_for("folder", 10**6, 16) == 64
    assert shard_size_for("folder", 10**6, 100) == 100
    with pytest.raises(ValueError, match="batch size is 0"):
        shard_size_for("tar", 1, 0)
