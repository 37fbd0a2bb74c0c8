"""Check a dataset's file without reading all of it: whether it is readable and complete."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Optional

_IDX_DIMS = 3  # the most dimensions of the known datasets


def damage(path: Path, expected: Optional[int]) -> Optional[str]:
    """
    Return the problem with the file at *path*, or None.

    It makes at most two short reads, so that lists may check every file. A file with the right
    length and wrong content is detected when a job reads it.

    Args:
        expected: the number of unpacked bytes; None for an IDX file, whose head gives it.
    """
    if not os.access(path, os.R_OK):
        return "cannot be read by this process"
    try:
        wanted = _idx_bytes(path) if expected is None else expected
        found = _packed_bytes(path) if path.suffix == ".gz" else path.stat().st_size
    except (OSError, EOFError, zlib.error, struct.error) as e:
        return f"cannot be read: {e}" if str(e) else "cannot be read: it ends too early"
    if found == wanted:
        return None
    return f"{'truncated' if found < wanted else 'damaged'}: {found} bytes of {wanted}"


def _idx_bytes(path: Path) -> int:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head: bytes = file.read(4 + 4 * _IDX_DIMS)
    if len(head) < 4:
        raise EOFError
    dims = head[3]
    shape = struct.unpack_from(f">{min(dims, _IDX_DIMS)}I", head, 4)
    return 4 + 4 * dims + int(math.prod(shape))


def _packed_bytes(path: Path) -> int:
    # The last four bytes of a gzip file are its unpacked length (below 4 GiB). If the file was cut
    # off, they are any other bytes.
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return int(struct.unpack("<I", file.read(4))[0])
