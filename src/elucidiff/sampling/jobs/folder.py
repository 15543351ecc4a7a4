"""The folder of a job: ``job.json`` says what is drawn, ``records/`` what is there, ``log.txt`` what happened."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from elucidiff.files import remove, remove_unfinished, write_whole
from elucidiff.launch.output_folder import check_empty, check_same_work
from elucidiff.sampling.jobs.job import Job, Shard
from elucidiff.sampling.jobs.outputs import OUTPUTS, SampleFile, Write, file_name
from elucidiff.untrusted import read_json

LISTING = "samples.json"
"""What a finished job in one folder has instead of ``job.json`` and records."""

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
    """Where the samples of a job go, and what tells which of them are there.

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
        description = self.path / "job.json"
        if not description.exists():
            check_empty(self.path)
            return
        check_same_work(self.path, "another job", _described(description)["job"], self.job.identity())

    def begin(self, overwrite: bool) -> int:
        """Make the folder ready, and count the samples in it by its records, which :meth:`fault` has yet to check.

        Args:
            overwrite: forget the job that was there, and delete its shards.
        """
        if overwrite:
            self._forget()
        identity = json.loads(json.dumps(self.job.identity()))
        self._describe(identity)
        remove_unfinished(self.path)
        remove_unfinished(self._record(0).parent)
        return self.recorded()

    def recorded(self) -> int:
        """Samples in the shards that are recorded."""
        return sum(len(self.job.shard(k).seeds) for k in range(self.job.shards) if self._record(k).exists())

    def fault(self, shard: Shard) -> str | None:
        """What is wrong with a shard: ``"missing"`` if nobody recorded it, None if it is all right.

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
        """What is told about a shard.

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

    def finish(self) -> None:
        """Note in ``job.json`` that all is there."""
        finished = {"samples": len(self.job.seeds), "nfe": self.evaluations()}
        self._describe(json.loads(json.dumps(self.job.identity())), finished=finished)

    def forget_records(self) -> None:
        """Delete ``job.json`` and the records, once something else tells all that they do."""
        (self.path / "job.json").unlink()
        shutil.rmtree(self._record(0).parent)

    def log(self, text: str) -> None:
        """Add a line to ``log.txt``."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def _describe(self, identity: Mapping[str, Any], **more: Any) -> None:
        described = {"format": _FORMAT, "version": _VERSION, "job": identity, "about": self.about, **more}
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
    """What ``job.json`` of a folder says is drawn there, as :meth:`.Job.identity`; None if there is none.

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
