"""Disks: they fill up, and keep a file's name only once its folder is synced."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def is_full(error: OSError) -> bool:
    """Return whether no space, or none of this user's share, is left for a file of that size."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sync_folder(folder: Path) -> None:
    """Let the names of the files in *folder* outlast a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
