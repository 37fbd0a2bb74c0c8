"""The C library's heap in a process that trains: what one update frees, the next asks for again."""

from __future__ import annotations

import ctypes
import platform
from functools import lru_cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_NEVER = -1
_LARGEST_BLOCK_BYTES = 32 * 2**20  # the most that glibc takes: larger tensors are mapped alone


@lru_cache(None)
def keep_freed_memory() -> bool:
    """
    Let freed memory stay with this process, until it ends; return whether that is so.

    By itself glibc may give the top of the heap back to the system after a backward pass and ask
    for it again in the next forward pass: hundreds of page faults in each update of a small net.
    The process keeps about what it held at its peak. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept: bool = mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK_BYTES) == 1
    return kept and mallopt(_M_TRIM_THRESHOLD, _NEVER) == 1
