"""The processor time of this process and its PostgreSQL, which other work hardly changes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable, NamedTuple

import psutil


class Took(NamedTuple):
    """The time of a piece of work, in ms."""

    cpu_ms: float
    """Processor time here and in all of PostgreSQL's processes, including background ones."""
    wall_ms: float


class ServerTime:
    """
    Times pieces of work that a database does.

    Args:
        postmaster: PostgreSQL's first process.
    """

    def __init__(self, postmaster: int) -> None:
        self._postmaster = psutil.Process(postmaster)

    def of(self, work: Callable[[], object]) -> Took:
        """Do *work*, and return its time."""
        served_s = self._served_s()
        own_s, began = time.process_time(), time.perf_counter()
        work()
        wall_s, own_s = time.perf_counter() - began, time.process_time() - own_s
        return Took(1000 * (own_s + self._served_s() - served_s), 1000 * wall_s)

    def _served_s(self) -> float:
        return sum(_on_cpu_s(child.pid) for child in self._postmaster.children())


def _on_cpu_s(pid: int) -> float:
    try:  # in nanoseconds; /proc/PID/stat counts in hundredths of seconds
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:  # it ended after it was listed
        return 0.0
