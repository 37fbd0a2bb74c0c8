"""
A moment of a working stack: a snapshot of its database, and all files that its rows name.

The older checkpoints of a running job are deleted, so a file that a row names may vanish before it
is copied. A hard link keeps a file's content: files are never changed, only replaced. So each file
gets a link right after the snapshot was taken; if one has vanished in between, a new snapshot is
taken, which does not name it any more. Objects of a bucket are copied at once instead
(`service.backups.copies`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from sqlalchemy import Connection, text

from normlab.errors import ServiceUnavailable
from service.store.database import Database

_MOST_SNAPSHOTS = 50
_FROZEN = text("set transaction isolation level repeatable read, read only")
_SNAPSHOT = text("select pg_export_snapshot()")
_FILES = text("select job::text, name, path, sha256, bytes from artifact order by job, name")


class NamedFile(NamedTuple):
    """A row of the database that names a file."""

    job: str
    name: str
    place: str
    sha256: str
    bytes: int


class SharedSnapshot(NamedTuple):
    """A snapshot that other sessions can use while *connection* is in its transaction."""

    connection: Connection
    snapshot: str
    files: list[NamedFile]
    """The files that are held."""
    lost: list[NamedFile]
    """The files that were already missing on disk."""


class Holder(Protocol):
    """Keeps the content of files while a backup is written."""

    def path(self, file: NamedFile) -> Path:
        """Return where the content of a held file is."""

    def hold(self, file: NamedFile) -> bool:
        """Keep the content of *file*; return False if there is no such file."""


class Links:
    """
    Links to files below *jobs*, which keep their content.

    Args:
        folder: the folder of the links, on the same file system; otherwise the files are copied
            there.
    """

    def __init__(self, jobs: Path, folder: Path) -> None:
        self._jobs = jobs
        self._folder = folder

    def path(self, file: NamedFile) -> Path:
        """Return the place of the link to *file*."""
        return self._folder / file.place

    def hold(self, file: NamedFile) -> bool:
        """Link *file*; return False if there is no such file."""
        link = self.path(file)
        if link.exists():
            return True
        if Path(file.place).is_absolute():  # not the folder of a job
            return False
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self._jobs / file.place, link)
        except FileNotFoundError:
            return False
        except OSError:  # another file system, or one without hard links
            return self._copied(file, link)
        return True

    def _copied(self, file: NamedFile, link: Path) -> bool:
        draft = link.with_name(f"{link.name}.draft")
        with suppress(FileNotFoundError):
            shutil.copyfile(self._jobs / file.place, draft)
            draft.rename(link)
        return link.exists()


def named_files(connection: Connection) -> list[NamedFile]:
    """List the files that rows name."""
    return [NamedFile(*row) for row in connection.execute(_FILES)]


@contextmanager
def held_moment(database: Database, links: Holder) -> Iterator[SharedSnapshot]:
    """
    Take a snapshot and hold its files; the snapshot can be used while the context is open.

    Raises:
        ServiceUnavailable: files vanish faster than they can be linked.
    """
    gone: set[NamedFile] = set()
    for _ in range(_MOST_SNAPSHOTS):
        with database.begin() as connection:
            connection.execute(_FROZEN)
            snapshot = connection.execute(_SNAPSHOT).scalar_one()
            files = named_files(connection)
            missing = {file for file in files if not links.hold(file)}
            if missing <= gone:  # they were missing before this snapshot was taken
                there = [file for file in files if file not in missing]
                yield SharedSnapshot(connection, snapshot, there, sorted(missing))
                return
            gone = missing
    raise ServiceUnavailable(
        f"files of jobs vanished while each of {_MOST_SNAPSHOTS} snapshots was taken; "
        "back up at a quieter time, or let jobs keep more checkpoints (checkpoint.keep)"
    )
