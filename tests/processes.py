"""What tests ask of processes that may end at any moment."""

from __future__ import annotations

from typing import List

import psutil


def command_of(process: psutil.Process) -> List[str]:
    """Return the words of its command line; none where it has ended, waited for or not."""
    try:
        words: List[str] = process.cmdline()
    except psutil.NoSuchProcess:  # a zombie is one, too
        return []
    return words
