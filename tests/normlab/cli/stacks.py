"""The files of a running stack that commands use, without the stack."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional

from normlab.stacks.connection import Connection
from normlab.stacks.running import LOCK_NAME


@contextmanager
def running(
    data_dir: Path, url: str, token: str = "t", data_root: Optional[str] = None
) -> Iterator[None]:
    """Hold the lock of a running stack; its file stays, as after a crash."""
    data_dir.mkdir(parents=True, exist_ok=True)
    Connection(url, token, data_root).write(data_dir)
    with (data_dir / LOCK_NAME).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
