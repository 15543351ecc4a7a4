"""Damage to files, drawn from a seed, and what a reader may do with it: read it, or refuse it in one line.

A mutation is what disks, networks and people with bad intentions do: bytes change, are lost, are repeated or come
from elsewhere in the file, and numbers become 0, -1 or huge. :class:`Watch` fails where a reader does what reading
does not need: compile or run program text, write files, start processes or connect.
"""

from __future__ import annotations

import importlib
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

# Messages, the guessing of encodings and zip archives need these; else they would be imported while somebody watches.
for _name in (
    "unicode_escape",
    "utf_8_sig",
    "utf_16_le",
    "utf_16_be",
    "utf_32_le",
    "utf_32_be",
    "utf_16",
    "utf_32",
    "cp437",
):
    importlib.import_module(f"encodings.{_name}")

NUMBERS = (0, 1, -1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**62, 2**63, 2**64 - 1)
TEXTS = (
    b"\x00",
    b"\n",
    b"\x1b[2J",
    b"\xff\xfe",
    b"-1",
    b"1e999",
    b"NaN",
    b"[" * 3000,
    b"9" * 5000,
    b"null",
    b'"',
    b"{}",
)


def mutated(data: bytes, draw: random.Random, places: Sequence[int] = ()) -> bytes:
    """``data`` with one to four pieces of damage.

    Args:
        data: a sound file.
        draw: where the damage comes from.
        places: positions that matter, such as those of a header; half of the damage is done near one of them.
    """
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        data = draw.choice(_DAMAGES)(data, draw, _position(data, draw, places))
    return data


def _position(data: bytes, draw: random.Random, places: Sequence[int]) -> int:
    near = (
        draw.choice(places) + draw.randrange(4) if places and draw.random() < 0.5 else draw.randrange(len(data) + 1)
    )
    return min(near, len(data))


def _byte(data: bytes, draw: random.Random, at: int) -> bytes:
    return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]


def _bit(data: bytes, draw: random.Random, at: int) -> bytes:
    return data[:at] + bytes(value ^ 1 << draw.randrange(8) for value in data[at : at + 1]) + data[at + 1 :]


def _number(data: bytes, draw: random.Random, at: int) -> bytes:
    width = draw.choice((1, 2, 4, 8))
    number = draw.choice(NUMBERS) % (1 << 8 * width)
    return data[:at] + number.to_bytes(width, draw.choice(("little", "big"))) + data[at + width :]


def _text(data: bytes, draw: random.Random, at: int) -> bytes:
    return data[:at] + draw.choice(TEXTS) + data[at + draw.choice((0, 1, 4)) :]


def _cut(data: bytes, draw: random.Random, at: int) -> bytes:
    return data[:at]


def _lost(data: bytes, draw: random.Random, at: int) -> bytes:
    return data[:at] + data[at + draw.choice((1, 2, 8, 64)) :]


def _repeated(data: bytes, draw: random.Random, at: int) -> bytes:
    length = draw.choice((1, 2, 8, 64))
    return data[:at] + data[at : at + length] * draw.choice((2, 3, 200)) + data[at + length :]


def _moved(data: bytes, draw: random.Random, at: int) -> bytes:
    other, length = draw.randrange(len(data) + 1), draw.choice((1, 4, 16, 100))
    return data[:at] + data[other : other + length] + data[at + length :]


_DAMAGES: tuple[Callable[[bytes, random.Random, int], bytes], ...] = (
    _byte, _byte, _bit, _number, _number, _text, _cut, _lost, _repeated, _moved,
)  # fmt: skip


@dataclass
class Outcomes:
    """What came of some damaged files: how many were read nevertheless, and the messages of the others."""

    read: int = 0
    messages: list[str] = field(default_factory=list)


def outcomes(
    reader: Callable[[Path], object], path: Path, sound: bytes, count: int, seed: int = 0, places: Sequence[int] = ()
) -> Outcomes:
    """Put ``count`` damaged forms of ``sound`` at ``path``, one after the other, and have each of them read.

    A reader may return, or raise ValueError or OSError with one printable line of at most 1,000 characters that
    names the file; what it warns of must be printable, too. Everything else fails, and the message says which seed
    and which mutation it was.
    """
    path.write_bytes(sound)
    reader(path)
    found = Outcomes()
    for number in range(count):
        message = outcome(reader, path, sound, number, seed, places)
        if message is None:
            found.read += 1
        else:
            found.messages.append(message)
    return found


def outcome(
    reader: Callable[[Path], object],
    path: Path,
    sound: bytes,
    number: int,
    seed: int = 0,
    places: Sequence[int] = (),
    *,
    writes: bool = False,
    watches: bool = True,
) -> str | None:
    """The message with which one damaged form of ``sound`` is refused; None if it is read. See :func:`outcomes`.

    Args:
        writes: whether the reader may write files, as one of a journal does that goes on with it.
        watches: False to let it import what it needs.
    """
    path.write_bytes(mutated(sound, random.Random(f"{seed} {number}"), places))
    which = f"seed {seed}, mutation {number}"
    try:
        watching = watched(writes=writes) if watches else nullcontext()
        with warnings.catch_warnings(record=True) as warned, watching:
            warnings.simplefilter("always")
            reader(path)
        for warning in warned:
            assert str(warning.message).isprintable(), f"{which}: it warns of {str(warning.message)[:2000]!r}"
    except (ValueError, OSError) as error:
        text = str(error)
        one_line = text.isprintable() and path.name in text and len(text) < 1000
        assert one_line, f"{which}: {text[:2000]!r}"
        return text
    except (AssertionError, Forbidden):
        raise
    except Exception as error:
        raise AssertionError(f"{which}: {error!r}") from error
    return None


_REFUSED = (
    "import",
    "compile",
    "exec",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "socket.",
    "ctypes.",
    "pty.",
)
_watching: list[bool] = []  # for each block, whether it may write
_hooked = False


class Forbidden(BaseException):
    """Raised where reading does more than reading; no handler of ordinary errors swallows it."""


@contextmanager
def watched(*, writes: bool = False) -> Iterator[None]:
    """Fail where the code within imports, compiles, runs, starts or, unless it ``writes``, writes something."""
    global _hooked
    if not _hooked:  # an audit hook stays for ever
        sys.addaudithook(_hook)
        _hooked = True
    _watching.append(writes)
    try:
        yield
    finally:
        _watching.pop()


def _of_the_program() -> bool:
    """Whether the program looks at itself: at annotations that are written as text, and at docstrings of settings."""
    return sys._getframe(2).f_globals.get("__name__") in ("typing", "ast")


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if (writes and not _watching[-1]) or (event.startswith(_REFUSED) and not _of_the_program()):
        raise Forbidden(f"{event} {str(arguments)[:300]}")
