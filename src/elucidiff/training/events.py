"""TensorBoard event files, written by the caller itself: a full disk is an error there, not in another thread."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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
