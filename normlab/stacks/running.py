"""The running stacks of this user, with any data folder."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional

from normlab.host.locks import is_held
from normlab.stacks.connection import Connection, read_connection

LOCK_NAME = "stack.lock"  # held while a stack runs; it is released at the end, even after a crash


@dataclass(frozen=True)
class RunningStack:
    """A running stack and its data folder."""

    data_dir: Path
    connection: Connection


def default_data_dir() -> Path:
    """Return the default data folder of a stack on this platform."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("normlab", appauthor=False))


def register_stack(data_dir: Path) -> None:
    """Register that a stack runs with *data_dir*, for `running_stacks` in other terminals."""
    folder = _registry()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    where = str(data_dir.absolute())
    (folder / hashlib.sha256(os.fsencode(where)).hexdigest()[:16]).write_text(where)


def running_stacks() -> List[RunningStack]:
    """List the registered stacks that are running, by folder; forget those that have ended."""
    found = []
    for entry in _entries():
        stack = running_stack(Path(entry.read_text()))
        if stack is None:
            entry.unlink(missing_ok=True)
        else:
            found.append(stack)
    return sorted(found, key=lambda stack: stack.data_dir)


def running_stack(data_dir: Path) -> Optional[RunningStack]:
    """Return the stack that runs with *data_dir*; None if none runs, even if its file exists."""
    left = read_connection(data_dir)
    if left is None or not is_held(data_dir / LOCK_NAME):
        return None  # another program may have its port now, and must not see the token
    return RunningStack(data_dir, left)


def _entries() -> Iterator[Path]:
    try:
        yield from sorted(_registry().iterdir())
    except FileNotFoundError:
        return


def _registry() -> Path:
    from platformdirs import user_state_dir

    return Path(user_state_dir("normlab", appauthor=False)) / "stacks"
