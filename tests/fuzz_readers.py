"""Damage what readers read, as often as asked, and tell what they made of it.

    python -m tests.fuzz_readers --mutations 20000                  # every reader of tests/readers.py
    python -m tests.fuzz_readers --mutations 2000 snapshot-edm zip  # two of them

Each damaged file must be read, or refused in one line; see ``tests/mutations.py``. Beyond that, no file may take
more processor time or memory than the limits below; and a reader that ends the process is found, too. The exit code
is 1 if anything was found; a line names the reader, the seed and the mutation, with which it comes again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from tests.mutations import Forbidden, outcome
from tests.readers import READERS

CPU_SECONDS = 10.0
MEMORY = 1 << 30
_AHEAD = 200  # mutations from another seed, after which everything is imported that a message needs
_MOST_TOLD = 20


@dataclass
class Tally:
    """What came of the damaged files of a reader.

    Attributes:
        read: how many were read.
        refused: how many were refused as they must be.
        slowest: processor seconds for one of them.
        memory: bytes that one of them took, at most, beyond what the process had.
        findings: what must not be.
    """

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    memory: int = 0
    findings: list[str] = field(default_factory=list)


def fuzz(name: str, mutations: int, seed: int = 0, number: Synchronized[int] | None = None, first: int = 0) -> Tally:
    """Damage the file of a reader so often.

    Args:
        name: of the reader.
        mutations: how often.
        seed: of the damage.
        number: is told which mutation is next.
        first: the mutation to begin with.
    """
    found = Tally()
    with tempfile.TemporaryDirectory() as folder:
        damaged = READERS[name](Path(folder))
        sound = damaged.path.read_bytes()
        damaged.reader(damaged.path)
        for k in range(-min(_AHEAD, mutations), mutations):
            if 0 <= k < first:
                continue
            if number is not None:
                number.value = k
            _forget_peak()
            before, started = _memory("VmRSS"), time.process_time()
            try:
                message = outcome(
                    damaged.reader, damaged.path, sound, k, seed, damaged.places,
                    writes=damaged.writes, watches=k >= 0,
                )  # fmt: skip
                found.read += message is None
                found.refused += message is not None
            except (AssertionError, Forbidden) as error:
                found.findings.append(f"{name}: {error} (seed {seed}, mutation {k})")
            taken, grown = time.process_time() - started, _memory("VmHWM") - before
            found.slowest, found.memory = max(found.slowest, taken), max(found.memory, grown)
            if taken > CPU_SECONDS:
                found.findings.append(f"{name}: {taken:.1f} s (seed {seed}, mutation {k})")
            if grown > MEMORY:
                found.findings.append(f"{name}: {grown >> 20:,} MiB (seed {seed}, mutation {k})")
    return found


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{name}:")[1].split()[0]) * 1024


def _in_a_process(name: str, mutations: int, seed: int) -> Tally:
    """As :func:`fuzz`, in a process of its own, and in another one where the first has died."""
    fuzz(name, 0)
    context = multiprocessing.get_context("fork")
    number = context.Value("q", 0)
    whole, first = Tally(), 0
    while first < mutations:
        receiving, sending = context.Pipe(duplex=False)

        def work(sending: Any = sending, first: int = first) -> None:
            sending.send(fuzz(name, mutations, seed, number, first))

        process = context.Process(target=work)
        process.start()
        sending.close()
        try:
            part = receiving.recv()
            first = mutations
        except EOFError:
            part = Tally(findings=[f"{name}: the process died (seed {seed}, mutation {number.value})"])
            first = number.value + 1
        process.join()
        whole.read, whole.refused = whole.read + part.read, whole.refused + part.refused
        whole.slowest, whole.memory = max(whole.slowest, part.slowest), max(whole.memory, part.memory)
        whole.findings += part.findings
        if len(whole.findings) > 100 * _MOST_TOLD:
            break
    return whole


def main() -> int:
    """Damage what was asked for, and print a line for each reader."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("readers", nargs="*", default=[], help=f"some of {', '.join(READERS)} (all)")
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = False
    print("| reader | read | refused | findings | slowest (CPU s) | memory (MiB) | minutes |", flush=True)
    print("|" + "---|" * 7, flush=True)
    for name in options.readers or READERS:
        started = time.monotonic()
        found = _in_a_process(name, options.mutations, options.seed)
        print(
            f"| {name} | {found.read:,} | {found.refused:,} | {len(found.findings):,} | {found.slowest:.2f} |"
            f" {found.memory / 2**20:.0f} | {(time.monotonic() - started) / 60:.1f} |",
            flush=True,
        )
        for finding, count in Counter(line[:600] for line in found.findings).most_common(_MOST_TOLD):
            print(f"{count} x {finding}", file=sys.stderr, flush=True)
        failed |= bool(found.findings)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
