"""The resources of the host that a process may use, including a container's limits."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import List, Optional

# A container sees its own group at the root: version 2 of control groups, or version 1.
GROUPS = Path("/sys/fs/cgroup")
DRIVER = Path("/proc/driver/nvidia/gpus")  # NVIDIA's driver has one folder per GPU here


def usable_cores(groups: Path = GROUPS) -> int:
    """
    Return how many threads can compute at the same time, at least 1.

    A container's `cpus` limits its time on all cores: with more threads than that, each would
    spend most of a period waiting for the next one.
    """
    there = _affinity()
    quota = _quota(groups)
    return there if quota is None else max(1, min(there, int(quota)))


def usable_memory_bytes(groups: Path = GROUPS) -> int:
    """Return the host's memory, or the container's limit if that is less."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        words = _words(groups / name)
        if words and words[0].isdigit():
            there = min(there, int(words[0]))
    return there


def free_disk_bytes(folder: Path) -> int:
    """Return the free space for *folder*, which may not exist yet."""
    there = folder.absolute()
    return shutil.disk_usage(next(p for p in (there, *there.parents) if p.exists())).free


def driver_gpus(driver: Path = DRIVER) -> Optional[int]:
    """Return the number of GPUs of NVIDIA's driver; None if there is no driver."""
    try:
        return len(os.listdir(driver))
    except OSError:
        return None


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _quota(groups: Path) -> Optional[float]:
    words = _words(groups / "cpu.max")  # "200000 100000", or "max 100000"
    if not words:
        old = groups / "cpu"
        words = _words(old / "cpu.cfs_quota_us") + _words(old / "cpu.cfs_period_us")
    if len(words) != 2 or not words[0].isdigit():  # version 1 writes -1 for none
        return None
    return int(words[0]) / int(words[1])


def _words(file: Path) -> List[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
