"""Locks on files: one process holds each, and the kernel releases it when the process ends."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional

from normlab.errors import Conflict
from normlab.host.private_files import append_privately


@contextmanager
def held(path: Path, busy: Optional[str] = None) -> Iterator[None]:
    """
    Hold the lock *path*; the file is created if it is missing.

    Args:
        busy: the error message if another process holds it; with None, wait until it is released.

    Raises:
        Conflict: another process holds it; the message is *busy*.
    """
    import fcntl  # not on Windows, where no stack can run

    with append_privately(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as e:
            raise Conflict(busy or "") from e
        yield


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock *path*."""
    import fcntl

    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
