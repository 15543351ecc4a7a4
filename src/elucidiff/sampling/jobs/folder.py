"""The folder of a job: ``job.json`` says what is drawn, ``records/`` what is there, ``log.txt`` what happened."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from elucidiff.files import remove, remove_unfinished, write_whole
from elucidiff.launch.output_folder import check_empty, check_same_work
from elucidiff.networks import fields
from elucidiff.sampling.jobs.outputs import LABELS, OUTPUTS, Label, SampleFile, Write, file_name
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import SeedRanges
from elucidiff.suggest import suggestion
from elucidiff.untrusted import read_json

_TOGETHER = 64


@dataclass(frozen=True)
class Shard:
    """A part of a job that is written as a whole.

    Attributes:
        index: its number, from 0.
        start: place of its first sample in the job.
        seeds: one a sample.
    """

    index: int
    start: int
    seeds: SeedRanges


@dataclass(frozen=True)
class Job:
    """Samples to draw. Two equal jobs give equal files, in however many processes and sessions they are done.

    Args:
        sampler: how to draw them.
        seeds: one a sample, all different.
        labels: class numbers (K,) or rows (K, label_dim), taken in turn; None lets each seed draw its own, as often
            as the training data had each; "uniform" lets it draw one of all classes equally often.
        batch_size: samples in each call of the denoiser; see :class:`.FixedBatch`.
        threads: threads of a process on a CPU. They are part of the job because sums that are shared among another
            number of threads are rounded otherwise.
        device: kind of device, such as ``cpu``; another one rounds otherwise.
        pictures: whether samples are 8-bit pictures, which become PNG files. Others become ``.npy`` files.
        output: where samples go, one of :data:`.OUTPUTS`.
        shard_size: samples in a shard, but for the last one.
        conditions: fields as the model sees them, ``(K, C, *spatial)``, taken in turn; None for a model without.
        condition_names: of each.
        facts: whatever else decides the samples, JSON-able: checksum of the model, of the labels.

    Raises:
        ValueError: a number is not positive, there is no such output, a seed is there twice, or there are labels that
            no sample would get.
    """

    sampler: Sampler
    seeds: SeedRanges
    labels: Tensor | Literal["uniform"] | None = None
    batch_size: int = 16
    threads: int = 1
    device: str = "cpu"
    pictures: bool = True
    output: str = "folder"
    shard_size: int = 1000
    conditions: Tensor | None = None
    condition_names: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("batch_size", "threads", "shard_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('_', ' ')} is {getattr(self, name)}, but must be at least 1")
        if self.output not in OUTPUTS:
            raise ValueError(f"there is no format {self.output!r}; {suggestion(self.output, OUTPUTS)}")
        if not self.seeds:
            raise ValueError("no seeds were given")
        repeated = self.seeds.first_repeated()
        if repeated is not None:
            raise ValueError(f"seeds overlap at {repeated}: the same seed twice would write the same file twice")
        for what, given in (("labels", self.labels), ("conditions", self.conditions)):
            if isinstance(given, Tensor) and not 1 <= len(given) <= len(self.seeds):
                raise ValueError(
                    f"there are {len(given)} {what} for {len(self.seeds)} seeds: give one a seed, or fewer, which "
                    "are taken in turn"
                )

    @property
    def shards(self) -> int:
        """Their number."""
        return -(-len(self.seeds) // self.shard_size)

    @property
    def together(self) -> int:
        """Samples that are drawn at once: several batches, since step noise and the solver's arithmetic are cheaper
        for many samples than for few."""
        return max(self.batch_size, _TOGETHER // self.batch_size * self.batch_size)

    @property
    def suffix(self) -> str:
        """Of the file of a sample, with the dot."""
        return ".png" if self.pictures else ".npy"

    def shard(self, index: int) -> Shard:
        """The shard of that number."""
        start = index * self.shard_size
        return Shard(index, start, self.seeds[start : start + self.shard_size])

    def labels_of(self, start: int, stop: int) -> Any:
        """Labels and conditions asked for samples ``start`` to ``stop`` - 1, as :meth:`.Sampler.run` takes them."""
        places = torch.arange(start, stop)
        labels = self.labels[places % len(self.labels)] if isinstance(self.labels, Tensor) else self.labels
        if self.conditions is None:
            return labels
        return {fields.FIELD: self.conditions[places % len(self.conditions)], fields.LABELS: labels}

    def condition_name(self, place: int) -> str:
        """The name of the condition of a sample; empty without."""
        return self.condition_names[place % len(self.condition_names)] if self.condition_names else ""

    def identity(self) -> dict[str, Any]:
        """All that decides the files, JSON-able."""
        return {
            **self.facts,
            "sampler": self.sampler.to_plain(),
            "seeds": str(self.seeds),
            "samples": len(self.seeds),
            "labels": _summary(self.labels) if isinstance(self.labels, Tensor) else self.labels,
            **({} if self.conditions is None else {"conditions": _summary(self.conditions)}),
            "batch_size": self.batch_size,
            "threads": self.threads,
            "device": self.device,
            "file": self.suffix[1:],
            "format": self.output,
            "shard_size": self.shard_size,
        }


def _summary(labels: Tensor) -> dict[str, Any]:
    values = np.ascontiguousarray(labels.numpy())
    return {"count": len(values), "type": str(values.dtype), "sha256": hashlib.sha256(values.data).hexdigest()}


LISTING = "samples.json"
"""The file of a finished job in one folder, instead of ``job.json`` and records."""

_FORMAT, _VERSION = "elucidiff-samples", 1
_SHARD = re.compile(r"\d{6,}(\.zip|\.tar)?")


class ShardWriter:
    """Takes the samples of one shard, and notes what a record tells of them.

    Attributes:
        nfe: network evaluations of each sample so far.
        entries: facts of each, where they are kept.
        record: of the shard, once all of it is written.
    """

    def __init__(self, write: Write, *, keep_entries: bool) -> None:
        self.nfe: list[float] = []
        self.entries: list[dict[str, Any]] = []
        self.record: dict[str, Any] = {}
        self._write, self._keep_entries = write, keep_entries

    def write(self, samples: Iterable[SampleFile]) -> None:
        """Write samples, in the order of their seeds.

        Raises:
            OSError: one could not be written.
        """
        for sample in samples:
            self._write(sample)
            self.nfe.append(sample.nfe)
            if self._keep_entries:
                self.entries.append(sample.facts())


class JobFolder:
    """The folder of a job, and the records that tell which of its samples are there.

    A shard counts when its record does, which is written after it, with its checksum. So whatever a killed process
    leaves is either whole and recorded, or drawn again.

    Args:
        path: the folder.
        job: what is drawn.
        about: what else to tell in ``job.json``, JSON-able; it may differ from session to session.
    """

    def __init__(self, path: Path, job: Job, about: Mapping[str, Any]) -> None:
        self.path, self.job, self.about = path, job, about
        self._output = OUTPUTS[job.output]

    def check(self) -> None:
        """Make sure that the folder is empty, or holds the beginning of this very job.

        Raises:
            ValueError: it holds something else, whose first difference is named.
            OSError: it cannot be read.
        """
        begun = job_begun_in(self.path)
        if begun is None:
            check_empty(self.path)
        else:
            check_same_work(self.path, "another job", begun, self.job.identity())

    def begin(self, overwrite: bool) -> int:
        """Make the folder ready, and count the samples in it by its records, which :meth:`fault` has yet to check.

        Args:
            overwrite: forget the job that was there, and delete its shards.
        """
        if overwrite:
            self._forget()
        self._describe()
        remove_unfinished(self.path)
        remove_unfinished(self._record(0).parent)
        return self.recorded()

    def recorded(self) -> int:
        """Samples in the shards that are recorded."""
        return sum(len(self.job.shard(k).seeds) for k in range(self.job.shards) if self._record(k).exists())

    def fault(self, shard: Shard) -> str | None:
        """The fault of a shard: ``"missing"`` if nobody recorded it, None if it is all right.

        Raises:
            OSError: it is there, but cannot be read.
        """
        if not self._record(shard.index).exists():
            return "missing"
        try:
            record = self.record(shard.index)
            if record["seeds"] != str(shard.seeds):
                return "its record is that of other seeds"
            found = self._output.checksum(self.path, shard.index, self._files(shard))
        except FileNotFoundError:
            return "it is gone, or a part of it"
        except (ValueError, KeyError, TypeError):
            return "its record is damaged"
        return None if found == record["sha256"] else "its checksum is not the recorded one"

    @contextlib.contextmanager
    def writing(self, shard: Shard) -> Iterator[ShardWriter]:
        """A shard to be written: what a ``with`` gives takes its samples. When the block ends, it is recorded.

        Raises:
            OSError: it could not be written.
        """
        self._record(shard.index).unlink(missing_ok=True)
        with self._output.shard(self.path, shard.index) as write:
            # Archives keep the labels beside the samples.
            writer = ShardWriter(write, keep_entries=self.job.output == "folder")
            yield writer
        writer.record = {
            "shard": shard.index,
            "name": self._output.name(shard.index),
            "seeds": str(shard.seeds),
            "samples": len(shard.seeds),
            "nfe": {"total": sum(writer.nfe), "least": min(writer.nfe), "most": max(writer.nfe)},
            "sha256": self._output.checksum(self.path, shard.index, self._files(shard)),
            **({"entries": writer.entries} if writer.entries else {}),
        }
        write_whole(self._record(shard.index), json.dumps(writer.record) + "\n")

    def record(self, index: int) -> dict[str, Any]:
        """The record of a shard.

        Raises:
            ValueError: it is not JSON.
            OSError: it cannot be read.
        """
        record: dict[str, Any] = read_json(self._record(index))
        return record

    def evaluations(self) -> float:
        """Network evaluations for all samples."""
        totals: Iterator[float] = (self.record(k)["nfe"]["total"] for k in range(self.job.shards))
        return sum(totals)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Metadata of each sample of a finished job in one folder."""
        for index in range(self.job.shards):
            yield from self.record(index)["entries"]

    def labelled_files(self) -> Iterator[tuple[str, Label]]:
        """The files of a finished job in sub-folders that have labels, relative to the job's folder."""
        for index in range(self.job.shards):
            name = self.record(index)["name"]
            for file, label in read_json(self.path / name / LABELS)["labels"] or ():
                yield f"{name}/{file}", label

    def finish(self) -> None:
        """Note in ``job.json`` that all is there."""
        finished = {"samples": len(self.job.seeds), "nfe": self.evaluations()}
        self._describe(finished=finished)

    def forget_records(self) -> None:
        """Delete ``job.json`` and the records, once something else tells all that they do."""
        (self.path / "job.json").unlink()
        shutil.rmtree(self._record(0).parent)

    def log(self, text: str) -> None:
        """Add a line to ``log.txt``."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def _describe(self, **more: Any) -> None:
        described = {"format": _FORMAT, "version": _VERSION, "job": self.job.identity(), "about": self.about, **more}
        write_whole(self.path / "job.json", json.dumps(described, indent=1) + "\n")

    def _forget(self) -> None:
        """Delete the shards and records of whatever job was here; loose files stay, as they always do."""
        for file in self._record(0).parent.glob("*.json"):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                name = read_json(file)["name"]
                # Nobody's file may name what is not a shard.
                if _SHARD.fullmatch(name):
                    remove(self.path / name)
            file.unlink()
        for name in ("job.json", LISTING):
            (self.path / name).unlink(missing_ok=True)

    def _files(self, shard: Shard) -> Iterator[str]:
        return (file_name(seed, self.job.suffix) for seed in shard.seeds)

    def _record(self, index: int) -> Path:
        return self.path / "records" / f"{index:06d}.json"


def job_begun_in(path: Path) -> dict[str, Any] | None:
    """The job that ``job.json`` of a folder says is drawn there, as :meth:`.Job.identity`; None if there is none.

    Raises:
        ValueError: it is no such file.
        OSError: it cannot be read.
    """
    description = path / "job.json"
    if not description.exists():
        return None
    begun: dict[str, Any] = _described(description)["job"]
    return begun


def _described(path: Path) -> dict[str, Any]:
    try:
        described = read_json(path)
    except ValueError:
        described = None
    if not isinstance(described, dict) or described.get("format") != _FORMAT or "job" not in described:
        raise ValueError(f"{path} does not describe a sampling job: choose another --out, or add --overwrite")
    if described.get("version") != _VERSION or not isinstance(described["job"], dict):
        raise ValueError(
            f"{path} has version {described.get('version')!r}, but this program goes on with {_VERSION}: choose "
            "another --out, or add --overwrite"
        )
    return described
