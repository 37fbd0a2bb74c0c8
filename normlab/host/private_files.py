"""Files for their owner alone: what a stack writes holds tokens, passwords and people's work."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, Container, Iterator

_OTHERS = 0o077


def keep_private() -> None:
    """Let this process, and what it starts, make files as 0600 and folders as 0700."""
    os.umask(_OTHERS)


def append_privately(path: Path) -> BinaryIO:
    """Open *path* to append to; a file that this makes is 0600 whatever the umask is."""
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))


def write_privately(path: Path, text: str) -> None:
    """Write *text* to *path*, whole or not at all; nobody else can read it at any moment."""
    draft = path.with_name(f"{path.name}.tmp")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def tighten(folder: Path, leave: Container[str] = ()) -> None:
    """
    Take *folder* and all in it from everybody but its owner, as far as it is ours.

    Symbolic links are not followed. A folder below the second level that is private already is
    not searched: nobody else reaches what is in it, and there may be thousands.

    Args:
        leave: names right below *folder* that are not touched.
    """
    _close_to_others(folder)
    for entry in _entries(folder):
        if entry.name not in leave:
            _tighten(entry, search=True)


def _tighten(entry: os.DirEntry[str], search: bool) -> None:
    was_open = _close_to_others(Path(entry.path))
    if entry.is_dir(follow_symlinks=False) and (search or was_open):
        for inner in _entries(Path(entry.path)):
            _tighten(inner, search=False)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from entries


def _close_to_others(path: Path) -> bool:
    """Return whether *path* was open to others."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
        return False
    if not found.st_mode & _OTHERS:
        return False
    path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
    return True
