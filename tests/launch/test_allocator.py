"""glibc is told to keep freed memory by programs, not by libraries, and only where nobody else has a say in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from multiprocessing import parent_process
from pathlib import Path

import pytest

from elucidiff.launch import machine as allocator
from elucidiff.sampling.jobs import Task, run_job
from tests.launch import page_faults
from tests.launch.page_faults import LEAST, ROUNDS, faults, faults_after
from tests.sampling.jobs.tiny import task

pytestmark = pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs glibc")

KEEP = f"from runpy import run_path; print(run_path({allocator.__file__!r})['keep_freed_memory']())"


def test_the_same_memory_is_used_again() -> None:
    plain, _ = faults_after("")
    kept, said = faults_after(KEEP)
    assert said == ["True"]
    # All is fetched anew in every round, or in the first alone.
    assert plain >= LEAST
    assert plain / kept == pytest.approx(ROUNDS, rel=0.25)


def test_freed_memory_is_given_back() -> None:
    code = """
import resource, sys, torch
from runpy import run_path

def mebibytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

if sys.argv[1]:
    assert run_path(sys.argv[1])["give_back_freed_memory"]()
torch.ones(4 * 2**20)  # 16 MiB; once they are freed, glibc by itself maps no block below that
before, kept = mebibytes(), []
blocks = []
for _ in range(20):
    blocks.append(torch.ones(2 * 2**20))  # 8 MiB each
    kept.append(torch.ones(2**12))  # 16 KiB that stay above it
del blocks
print(mebibytes() - before)
"""
    usual, given_back = (
        float(subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True).stdout)
        for path in ("", allocator.__file__)
    )
    assert usual > 150
    assert given_back < 10


@pytest.mark.parametrize(
    "settled",
    [
        {"MALLOC_ARENA_MAX": "2"},
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"MALLOC_CONF": "narenas:1"},
        {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=512:glibc.malloc.top_pad=65536"},
    ],
)
def test_what_a_user_has_settled_stays(settled: dict[str, str]) -> None:
    kept, said = faults_after(KEEP, **settled)
    assert said == ["False"]
    assert kept >= LEAST


def test_tunables_of_other_parts_of_glibc_settle_nothing() -> None:
    assert faults_after(KEEP, GLIBC_TUNABLES="glibc.rtld.optional_static_tls=512")[1] == ["True"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_another_allocator_is_left_alone(tmp_path: Path) -> None:
    source, library = tmp_path / "other.c", tmp_path / "libother.so"
    source.write_text(
        "#include <stdlib.h>\n#include <errno.h>\n"
        "int posix_memalign(void **at, size_t align, size_t size)\n"
        "{ *at = aligned_alloc(align, (size + align - 1) / align * align); return *at ? 0 : ENOMEM; }\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    assert faults_after(KEEP, LD_PRELOAD=str(library))[1] == ["False"]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr_names", {"CS_PATH": 0})
    assert not allocator.keep_freed_memory()
    monkeypatch.delattr(os, "confstr_names")  # as on Windows
    assert not allocator.keep_freed_memory()


def test_the_command_line_keeps_memory_and_an_import_does_not() -> None:
    code = f"""
import elucidiff.sampling.jobs
from elucidiff.cli.main import main
from runpy import run_path
faults = run_path({page_faults.__file__!r})["faults"]
print(faults())
assert main(["data", "inspect", "/nowhere"]) == 2
print(faults())
assert main(["sample", "/nowhere", "--device=cpu"]) == 2
"""
    kept, before = faults_after(code)
    for plain in map(int, before):
        assert plain / kept == pytest.approx(ROUNDS, rel=0.25)


def counting(index: int | None) -> Task:
    """A task that its process refuses, with the number of its page faults, if it was spawned."""
    if parent_process() is not None:
        raise ValueError(f"faults {faults()}")
    return task("0-99")


@pytest.mark.slow
def test_spawned_processes_keep_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    counted = []
    for _ in range(2):
        with pytest.raises(ValueError, match=r"faults \d+") as error:
            run_job(counting, tmp_path / str(len(counted)), processes=2)
        counted.append(int(str(error.value).split()[1]))
        monkeypatch.setenv("MALLOC_TOP_PAD_", "131072")
    kept, plain = counted
    assert plain / kept == pytest.approx(ROUNDS, rel=0.25)
