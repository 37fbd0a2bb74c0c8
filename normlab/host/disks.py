"""Full disks, and folders that must be synced so that a disk keeps the names of files."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def is_full(error: OSError) -> bool:
    """Return whether the disk, or this user's quota, has no space left for a file of that size."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sync_folder(folder: Path) -> None:
    """Sync *folder*, so that the names of its files survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
