"""A run's account of itself: losses gathered on the device, ``metrics.jsonl`` and TensorBoard events."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elucidiff.files import write_whole
from elucidiff.training.processes import Processes
from elucidiff.untrusted import parse_json, reading


class EventFile:
    """A file of scalars in TensorBoard's format.

    Args:
        folder: where to make it; every session of a run makes its own.
        purge_step: TensorBoard forgets what earlier files say about this step and later ones.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], purge_step: int) -> None:
        # Imported here, because they take a while.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self.path = Path(folder) / name
        self._file = self.path.open("xb")
        self._records = RecordWriter(self._file)
        self._add(step=purge_step, file_version="brain.Event:2")
        self._add(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Append values of ``step`` and hand them to the system."""
        values = [self._summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._add(step=step, summary=self._summary(value=values))
        self._records.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _add(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())


BINS = 16
LOWEST, HIGHEST = math.log(0.002), math.log(80.0)
"""Noise levels are told apart in ``BINS`` equal bins of ln(sigma); what lies outside counts in the first or last."""


@dataclass(frozen=True)
class LossSummary:
    """Mean weighted loss per element.

    Attributes:
        mean: over all images with a finite loss; NaN if there are none.
        by_sigma: the same by noise level, keyed by the centre of its bin; bins without images are absent.
        images: how many images were counted.
        not_finite: how many more had an infinite loss or none, and were left out.
        error: standard error of the mean; infinite with fewer than two images.
        error_by_sigma: the same by noise level, for bins with at least two images.
    """

    mean: float
    by_sigma: Mapping[float, float]
    images: int
    not_finite: int
    error: float = math.inf
    error_by_sigma: Mapping[float, float] = field(default_factory=dict)


class LossMeter:
    """Adds losses up by noise level, on the device, so that a training step never waits for a number.

    Args:
        device: where the losses are.
        processes: who counts; each its own images, and what is read is about all of them.
    """

    def __init__(self, device: torch.device | str, processes: Processes | None = None) -> None:
        self._processes = processes or Processes()
        # The last bin counts what is not finite.
        self._sums = torch.zeros(BINS + 1, device=device)
        self._squares = torch.zeros(BINS + 1, device=device)
        self._counts = torch.zeros(BINS + 1, dtype=torch.int64, device=device)

    def add(self, loss: Tensor, sigma: Tensor, present: Tensor | None = None) -> None:
        """Count the per-element losses ``(B, C, *spatial)`` of images at noise levels ``(B,)``.

        Where only some values are ``present``, an image's loss is the mean over these.
        """
        if present is None:
            means = loss.detach().flatten(1).mean(1).float()
        else:
            counted = (loss.detach() * present).flatten(1).sum(1).float()
            means = counted / present.flatten(1).sum(1).clamp_min(1)
        place = (sigma.detach().reshape(-1).log() - LOWEST) / (HIGHEST - LOWEST) * BINS
        bins = place.clamp(0, BINS - 1).long()
        finite = means.isfinite()
        bins = torch.where(finite, bins, BINS)
        means = torch.where(finite, means, 0.0)
        self._sums.index_add_(0, bins, means)
        self._squares.index_add_(0, bins, means.square())
        self._counts.index_add_(0, bins, torch.ones_like(bins))

    def summary(self) -> LossSummary:
        """The counts of all processes since the last :meth:`reset`. Waits for them, and for the device."""
        state = self.state_dict()
        sums, squares, counts = (state[name].sum(0).tolist() for name in ("sums", "squares", "counts"))
        centres = [math.exp(LOWEST + (HIGHEST - LOWEST) * (k + 0.5) / BINS) for k in range(BINS)]
        by_sigma = {centres[k]: sums[k] / counts[k] for k in range(BINS) if counts[k]}
        images = sum(counts[:BINS])
        return LossSummary(
            mean=sum(sums[:BINS]) / images if images else math.nan,
            by_sigma=by_sigma,
            images=images,
            not_finite=counts[BINS],
            error=_standard_error(sum(sums[:BINS]), sum(squares[:BINS]), images),
            error_by_sigma={
                centres[k]: _standard_error(sums[k], squares[k], counts[k]) for k in range(BINS) if counts[k] > 1
            },
        )

    def reset(self) -> None:
        """Start again from nothing."""
        self._sums.zero_()
        self._squares.zero_()
        self._counts.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """The sums and counts of every process, ``(count, BINS + 1)``, for a checkpoint. Waits for all."""
        return {name: self._processes.gather(values) for name, values in self._values().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave, in as many processes (then to the bit) or in others."""
        for name, values in self._values().items():
            if len(state[name]) == self._processes.count:
                values.copy_(state[name][self._processes.rank])
            elif self._processes.main:
                values.copy_(state[name].sum(0))

    def _values(self) -> dict[str, Tensor]:
        return {"sums": self._sums, "squares": self._squares, "counts": self._counts}


def _standard_error(total: float, squares: float, count: int) -> float:
    """Of the mean of ``count`` values with this sum and sum of squares."""
    if count < 2:
        return math.inf
    variance = max(squares - total**2 / count, 0.0) / (count - 1)
    return math.sqrt(variance / count)


def level_name(sigma: float) -> str:
    """The name of a noise level in metrics.jsonl."""
    return f"{sigma:.4g}"


class MetricsLog:
    """``metrics.jsonl``, one JSON object a line, and TensorBoard events, in a run folder.

    Args:
        run_dir: the run folder.
        images_seen: where the run goes on from; what was written about later images is removed.
    """

    def __init__(self, run_dir: str | os.PathLike[str], images_seen: int = 0) -> None:
        self._path = Path(run_dir) / "metrics.jsonl"
        if self._path.exists():
            write_whole(self._path, "".join(f"{text}\n" for text, _ in _lines_until(self._path, images_seen)))
        self._file = self._path.open("a", encoding="utf-8")
        self._events = EventFile(run_dir, purge_step=images_seen + 1)

    def write(self, images_seen: int, values: Mapping[str, Any]) -> None:
        """Append one line; values that are mappings from noise levels are written with rounded levels as keys.

        Raises:
            OSError: a file cannot be written (disk full); the error names it.
        """
        values = {
            name: {level_name(sigma): loss for sigma, loss in value.items()} if isinstance(value, Mapping) else value
            for name, value in values.items()
        }
        scalars = {
            tag: number
            for name, value in values.items()
            for tag, number in (
                {f"{name}/{sigma}": loss for sigma, loss in value.items()}
                if isinstance(value, Mapping)
                else {name: value}
            ).items()
        }
        with _named(self._path):
            self._file.write(json.dumps({"images": images_seen, **values}) + "\n")
            self._file.flush()
        with _named(self._events.path):
            self._events.write(images_seen, scalars)

    def lines(self) -> list[dict[str, Any]]:
        """All lines written so far, those of earlier sessions included."""
        with reading(self._path):
            return [parse_json(line, self._path) for line in self._path.read_text(encoding="utf-8").splitlines()]

    def close(self) -> None:
        """Close both files. All was handed to the system by :meth:`write`, which has reported what could not be."""
        for file in (self._file, self._events):
            with contextlib.suppress(OSError):
                file.close()


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the file's name into errors of a file that is open already, which lack it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def metrics_until(run_dir: Path, images_seen: int) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` in a run folder, about at most ``images_seen`` images; none without the file."""
    path = run_dir / "metrics.jsonl"
    return [values for _, values in _lines_until(path, images_seen)] if path.exists() else []


def _lines_until(path: Path, images_seen: int) -> list[tuple[str, dict[str, Any]]]:
    """The whole lines of ``path`` about at most ``images_seen`` images, as they are written and as they are read.

    A killed run may have left half a line.
    """
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = parse_json(text, path)
            if values["images"] <= images_seen:
                lines.append((text, values))
        except (ValueError, KeyError, TypeError):
            continue
    return lines
