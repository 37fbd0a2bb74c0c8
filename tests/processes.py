"""Questions of tests about processes that may end at any moment."""

from __future__ import annotations

from typing import List

import psutil


def command_of(process: psutil.Process) -> List[str]:
    """Return the words of its command line; none if it has ended, even as a zombie."""
    try:
        words: List[str] = process.cmdline()
    except psutil.NoSuchProcess:  # also for a zombie
        return []
    return words
