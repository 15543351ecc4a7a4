"""An import that is under way: it survives being killed, and its folder appears whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from elucidiff.data.imported import IMAGES, LABELS, META
from elucidiff.data.labels import Labels
from elucidiff.data.sources import Images
from elucidiff.files import write_whole
from elucidiff.launch.output_folder import LOCK, held
from elucidiff.untrusted import printable, read_json, reading

_STATE = "progress.json"
_SECONDS_BETWEEN_SAVES = 2.0
_BYTES_AT_ONCE = 1 << 24
_OTHER = "{} holds an unfinished import of other data or with other settings: remove it, or choose another folder"

Item = tuple[Images | None, bytes]
"""An image, or None for one that is broken, and the digest of what it was made of."""


class PartialImport:
    """The folder ``OUT.partial``: images are appended to it in order, and it becomes ``OUT`` when all are there.

    Args:
        out: the folder to make.
        key: of the data and settings; what was kept from another key is refused.
        shape: of an image.
        dtype: of the images.
        total: number of images at most.

    Attributes:
        done: images that were dealt with already, broken ones included.
        broken: which of them were broken, as positions.

    Raises:
        OSError: the folder cannot be written, or the disk is too small.
        ValueError: the folder holds an unfinished import of something else, or another process is at it.
    """

    def __init__(self, out: Path, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], total: int) -> None:
        self._out, self._key, self._shape, self._dtype, self._total = out, key, shape, dtype, total
        self._folder = partial_folder(out)
        self._image_bytes = math.prod(shape) * dtype.itemsize
        self.done = 0
        self.broken: list[int] = []
        self._digest, self._source = hashlib.sha256(), hashlib.sha256()
        self._done_source, self._compared = "", False
        self._header = len(self._npy_header(total))
        with contextlib.ExitStack() as holding:
            holding.enter_context(held(self._folder))
            if out.exists() and (not out.is_dir() or any(out.iterdir())):
                shutil.rmtree(self._folder)
                raise ValueError(f"another process has made {out} meanwhile: if it was the same import, all is done")
            self._read_state()
            self._check_space()
            path = self._folder / IMAGES
            self._file = holding.enter_context(path.open("r+b" if path.exists() else "w+b"))
            self._rewind()
            self._holding = holding.pop_all()
        self._saved_at = time.monotonic()

    @property
    def count(self) -> int:
        """Images that were written."""
        return self.done - len(self.broken)

    def check_source(self, digests: Iterable[bytes]) -> None:
        """Compare the digests of the images that were dealt with already to those of now.

        Raises:
            ValueError: some image is not what it was.
        """
        for digest in digests:
            self._source.update(digest)
        if self.done and self._source.hexdigest() != self._done_source:
            raise ValueError(_OTHER.format(self._folder))
        self._compared = True

    def append(self, items: list[Item]) -> None:
        """Add the next images."""
        for image, digest in items:
            self._source.update(digest)
            if image is None:
                self.broken.append(self.done)
            else:
                content = np.ascontiguousarray(image, dtype=self._dtype.newbyteorder("<")).data
                self._file.write(content)
                self._digest.update(content)
            self.done += 1
        if time.monotonic() - self._saved_at > _SECONDS_BETWEEN_SAVES:
            self._save_state()

    def finish(self, labels: Labels | None, meta: dict[str, Any]) -> None:
        """Write the labels and ``meta.json`` with the checksums, and give the folder its name."""
        self._file.seek(0)
        self._file.write(self._npy_header(self.count))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        checksums = {"sha256_images": self._digest.hexdigest()}
        if labels is not None:
            values = labels.values.astype(labels.values.dtype.newbyteorder("<"), copy=False)
            content = np.ascontiguousarray(values).data
            self._digest.update(content)
            checksums["sha256_labels"] = hashlib.sha256(content).hexdigest()
            buffer = io.BytesIO()
            np.save(buffer, values, allow_pickle=False)
            write_whole(self._folder / LABELS, buffer.getvalue())
        meta = meta | {"sha256": self._digest.hexdigest(), **checksums}
        meta |= {"sha256_source": self._source.hexdigest(), "key": self._key}
        write_whole(self._folder / META, json.dumps(meta, indent=2) + "\n")
        (self._folder / _STATE).unlink(missing_ok=True)
        self._folder.rename(self._out)
        (self._out / LOCK).unlink(missing_ok=True)  # it went along; we still hold it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whatever ended the import, what was done is kept; on a full disk it goes on from the last save.
        with self._holding:
            if not self._file.closed:
                try:
                    self._save_state()
                except OSError:
                    if error is None:
                        raise

    def _npy_header(self, count: int) -> bytes:
        """NumPy pads the header so that its length is the same for any number of images."""
        buffer = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(self._dtype.newbyteorder("<"))
        shape = (count, *self._shape)
        np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
        return buffer.getvalue()

    def _read_state(self) -> None:
        path = self._folder / _STATE
        if not path.exists():
            return
        with reading(path, f"is damaged: remove {printable(str(self._folder))} and import again"):
            state = read_json(path)
            key, done, broken = state["key"], int(state["done"]), [int(place) for place in state["broken"]]
            self._done_source = str(state["source"])
            if not 0 <= done <= self._total or not set(broken) <= set(range(done)) or len(set(broken)) < len(broken):
                raise ValueError("positions that do not exist")
        if key != self._key:
            raise ValueError(_OTHER.format(self._folder))
        self.done, self.broken = done, broken

    def _save_state(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        source = self._source.hexdigest() if self._compared else self._done_source
        state = {"key": self._key, "done": self.done, "broken": self.broken, "source": source}
        write_whole(self._folder / _STATE, json.dumps(state))
        self._saved_at = time.monotonic()

    def _check_space(self) -> None:
        needed = (self._total - self.done) * self._image_bytes
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise OSError(
                errno.ENOSPC, f"{needed / 1e9:.3g} GB are needed, but {free / 1e9:.3g} GB are free", str(self._out)
            )

    def _rewind(self) -> None:
        """Put the file at its end, after reading what is there into the checksum."""
        end = self._header + self.count * self._image_bytes
        if os.fstat(self._file.fileno()).st_size < end:
            # The disk lost bytes that it had confirmed.
            self.done, self.broken = 0, []
            end = self._header
        self._file.seek(0)
        self._file.write(self._npy_header(self._total))
        while self._file.tell() < end:
            self._digest.update(self._file.read(min(_BYTES_AT_ONCE, end - self._file.tell())))
        self._file.truncate(end)


def partial_folder(out: Path) -> Path:
    """The folder in which an import that is not finished keeps its work."""
    return out.with_name(out.name + ".partial")
