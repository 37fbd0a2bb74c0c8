"""Questions of tests about processes that may end at any moment."""

from __future__ import annotations

import time
from typing import List, Sequence

import psutil


def command_of(process: psutil.Process) -> List[str]:
    """Return the words of its command line; none if it has ended, even as a zombie."""
    try:
        words: List[str] = process.cmdline()
    except psutil.NoSuchProcess:  # also for a zombie
        return []
    return words


def has_ended(process: psutil.Process) -> bool:
    """Return whether it is gone or a zombie; its number may be that of another one by now."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # between the two questions
        return True


def number_is_free(pid: int) -> bool:
    """Return whether the process *pid* is gone or a zombie."""
    try:
        return has_ended(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


def all_end(processes: Sequence[psutil.Process], within_s: float = 120) -> bool:
    """Wait until all *processes* have ended; return whether they have in time."""
    deadline = time.monotonic() + within_s
    while not all(map(has_ended, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
