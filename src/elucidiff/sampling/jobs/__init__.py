"""Sampling jobs: from one image to many millions, in any number of processes and sessions, with equal bits."""

from __future__ import annotations

from elucidiff.sampling.jobs.automatic import BatchSize, fastest_batch_size, shard_size_for
from elucidiff.sampling.jobs.drawing import Callbacks, Outcome, draw_samples, run_job
from elucidiff.sampling.jobs.folder import Job, Shard
from elucidiff.sampling.jobs.outputs import OUTPUTS
from elucidiff.sampling.jobs.worker import Task

__all__ = [
    "OUTPUTS",
    "BatchSize",
    "Callbacks",
    "Job",
    "Outcome",
    "Shard",
    "Task",
    "draw_samples",
    "fastest_batch_size",
    "run_job",
    "shard_size_for",
]
