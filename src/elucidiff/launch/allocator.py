"""Memory that was freed is kept for the next allocation, rather than given back to the system.

The activations of a network are large blocks that are freed and asked for again in every step. The C library of most
Linux systems, glibc, by default fetches those of more than 32 MiB from the system each time, and gives back what is
free at the end of its heap. The system hands out memory page by page as it is touched, and clears every page.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_NEVER, _TOP_PAD = -1, 64 * 2**20


def keep_freed_memory() -> bool:
    """Have glibc's allocator keep what this process frees until the process ends; whether that was done.

    No block is mapped on its own any more (M_MMAP_MAX 0), the heap never shrinks (M_TRIM_THRESHOLD -1), and it grows
    by 64 MiB more than is needed (M_TOP_PAD). These are settings of the whole process, so a program calls this for
    itself, and a library does not; forked processes inherit it. The peak of memory hardly changes, but the process
    stays there.

    Nothing is done where there is another C library or allocator (jemalloc, tcmalloc), and none of it where whoever
    started the process has settled it: by a variable ``MALLOC_...``, as for glibc and jemalloc, or by one of
    ``GLIBC_TUNABLES`` named ``glibc.malloc...``.
    """
    if not _is_glibc() or _is_settled():
        return False
    libc = ctypes.CDLL("libc.so.6")
    # All tensors come from posix_memalign. (Of malloc some programs have an address of their own.)
    if _address(ctypes.CDLL(None).posix_memalign) != _address(libc.posix_memalign):
        return False
    # One without the others is slower than none: each stops glibc from adapting its thresholds by itself.
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _TOP_PAD))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)


def _is_glibc() -> bool:
    return "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})


def _is_settled() -> bool:
    return any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    )


def _address(function: Any) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value
