"""Files that only their owner can read, for tokens, passwords and people's work."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, Container, Iterator

_OTHERS = 0o077


def keep_private() -> None:
    """Let this process and its children create files as 0600 and folders as 0700."""
    os.umask(_OTHERS)


def append_privately(path: Path) -> BinaryIO:
    """Open *path* for appending; a new file is 0600, independently of the umask."""
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))


def write_privately(path: Path, text: str) -> None:
    """Write *text* to *path* atomically; other users cannot read it at any time."""
    draft = path.with_name(f"{path.name}.tmp")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def tighten(folder: Path, leave: Container[str] = ()) -> None:
    """
    Make private *folder* and those of its contents that belong to this user.

    Symbolic links are not followed. A private folder below the second level is not searched: its
    contents are protected already, and there may be thousands of such folders.

    Args:
        leave: names directly below *folder* that are not changed.
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
