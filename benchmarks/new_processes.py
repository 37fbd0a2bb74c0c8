"""Measures work in separate processes, including their child processes."""

from __future__ import annotations

import multiprocessing
import resource
import time
from typing import Any, NamedTuple

_FORK, _SPAWN = (multiprocessing.get_context(name) for name in ("fork", "spawn"))


class Spent(NamedTuple):
    """Seconds of the clock, and of all processors, including ended child processes."""

    wall_s: float
    cpu_s: float


class Stopwatch:
    """Measures from its start, which can be set again to leave out earlier work."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start measuring here."""
        self._begun = now()

    def __call__(self) -> None:
        """Do nothing between updates, because no other process takes turns with this one."""

    def spent(self) -> Spent:
        """Return what was spent since the start."""
        ended = now()
        return Spent(ended.wall_s - self._begun.wall_s, ended.cpu_s - self._begun.cpu_s)


def now() -> Spent:
    """Return the clock and the processor time of this process and its ended children."""
    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    cpu_s = sum(used.ru_utime + used.ru_stime for used in (own, others))
    return Spent(time.perf_counter(), cpu_s)


def in_new_process(work: Any, *arguments: Any, fork: bool = False) -> Any:
    """Run *work* in a new process and return its result; a forked one has this one's imports."""
    context = _FORK if fork else _SPAWN
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    found = ours.recv()
    process.join()
    return found


def _send(answer: Any, work: Any, arguments: Any) -> None:
    answer.send(work(*arguments))
