"""Settings of the C library's heap, so that each update reuses the memory of the last one."""

from __future__ import annotations

import ctypes
import platform
from functools import lru_cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_NEVER = -1
_LARGEST_BLOCK_BYTES = 32 * 2**20  # glibc's maximum: larger tensors are mapped separately


@lru_cache(None)
def keep_freed_memory() -> bool:
    """
    Keep freed memory in this process until it ends; return whether that worked.

    By default, glibc may return the top of the heap to the system after a backward pass and request
    it again in the next forward pass, with hundreds of page faults in each update of a small
    network. With this setting, the process keeps about its peak memory. Other C libraries are not
    changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept: bool = mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK_BYTES) == 1
    return kept and mallopt(_M_TRIM_THRESHOLD, _NEVER) == 1
