"""The stacks of this user that run now, wherever their data lie."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional

from normlab.host.locks import is_held
from normlab.stacks.connection import Connection, read_connection

LOCK_NAME = "stack.lock"  # held as long as a stack runs, and let go by every kind of death


@dataclass(frozen=True)
class RunningStack:
    """A stack, by where its data lie."""

    data_dir: Path
    connection: Connection


def default_data_dir() -> Path:
    """Return the platform's folder for a stack's data, where none is given."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("normlab", appauthor=False))


def register_stack(data_dir: Path) -> None:
    """Note that a stack runs with *data_dir*, for `running_stacks` of any terminal."""
    folder = _registry()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    where = str(data_dir.absolute())
    (folder / hashlib.sha256(os.fsencode(where)).hexdigest()[:16]).write_text(where)


def running_stacks() -> List[RunningStack]:
    """List the stacks that were registered and run now, by folder; forget those that ended."""
    found = []
    for entry in _entries():
        stack = running_stack(Path(entry.read_text()))
        if stack is None:
            entry.unlink(missing_ok=True)
        else:
            found.append(stack)
    return sorted(found, key=lambda stack: stack.data_dir)


def running_stack(data_dir: Path) -> Optional[RunningStack]:
    """Return the stack that runs with *data_dir*; None where a file is all that is left of one."""
    left = read_connection(data_dir)
    if left is None or not is_held(data_dir / LOCK_NAME):
        return None  # its port may be somebody else's by now, who must not see the token
    return RunningStack(data_dir, left)


def _entries() -> Iterator[Path]:
    try:
        yield from sorted(_registry().iterdir())
    except FileNotFoundError:
        return


def _registry() -> Path:
    from platformdirs import user_state_dir

    return Path(user_state_dir("normlab", appauthor=False)) / "stacks"
