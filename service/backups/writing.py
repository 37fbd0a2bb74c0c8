"""Write a backup of a stack that may be working."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, text

from normlab import __version__
from normlab.host.locks import held
from service.backups import tools
from service.backups.archives import Writer, reading, writing
from service.backups.copies import Copies, refuse_another
from service.backups.holding import Holder, Links, NamedFile, SharedSnapshot, held_moment
from service.backups.manifest import DUMP, JOBS, NAME, BackupFile, LostFile, Manifest, now
from service.storage.store import Store
from service.store.database import Database
from service.store.releases import storage_of

_BUSY = "another backup of {} is being written; wait until it has ended"
_REVISION = text("select version_num from alembic_version")
_STATES = text("select state, count(*) as jobs from job group by state order by state")

BackupProgress = Callable[[int, int], None]
"""A function that is called with the number of bytes done and the number of all bytes."""


def write_backup(
    database_url: str,
    data_dir: Path,
    files: Store,
    target: Path,
    progress: BackupProgress = lambda *_: None,
) -> Manifest:
    """
    Back the stack with *data_dir* up to *target*, while its jobs, workers and users continue.

    Raises:
        Conflict: *target* exists, or another backup of this stack is being written.
        StorageFull: no space is left; nothing is kept at *target*.
        ServiceUnavailable: the database or the bucket does not answer.
        InvalidSpec: the API keeps the files of jobs in another bucket.

    Args:
        files: the store of the files of jobs.
    """
    with Database(database_url, 1) as database:
        refuse_another("" if files.in_place else files.url, storage_of(database))
    with _room(data_dir) as room, writing(target) as archive:
        holder = _holder(database_url, files, room / JOBS)
        with Database(database_url, 1) as database, held_moment(database, holder) as moment:
            tools.dump(database_url, moment.snapshot, room / DUMP)
            revision, jobs = _facts(moment.connection)
        copied, damaged = _copy(archive, room / DUMP, holder, moment, progress)
        manifest = Manifest(
            version=__version__,
            revision=revision,
            created_at=now(),
            jobs=jobs,
            files=copied,
            lost=[_lost(file, files) for file in moment.lost],
            damaged=damaged,
        )
        _add_manifest(archive, manifest, room)
    return manifest


def check_backup(source: Path, progress: BackupProgress = lambda *_: None) -> Manifest:
    """Read the backup at *source* to its end; raise InvalidSpec if anything of it is damaged."""
    with reading(source) as archive, open(os.devnull, "wb") as nowhere:
        done, whole = 0, archive.manifest.size
        for file in archive.manifest.files:
            archive.copy(file, nowhere)
            done += file.bytes
            progress(done, whole)
    return archive.manifest


def _holder(database_url: str, files: Store, folder: Path) -> Holder:
    root = files.local("")
    if root is not None:
        return Links(root, folder)
    copies = Copies(files, folder)
    with Database(database_url, 1) as database:
        copies.fetch_most(database)
    return copies


@contextmanager
def _room(data_dir: Path) -> Iterator[Path]:
    """Yield a folder for temporary files of the backup."""
    with held(data_dir / "backup.lock", _BUSY.format(data_dir)):
        room = data_dir / "backing-up"
        shutil.rmtree(room, ignore_errors=True)  # left by one that was killed
        room.mkdir(mode=0o700)
        try:
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)


def _facts(connection: Connection) -> tuple[str, dict[str, int]]:
    states = {row.state: row.jobs for row in connection.execute(_STATES)}
    return str(connection.execute(_REVISION).scalar_one()), states


def _copy(
    archive: Writer, dump: Path, holder: Holder, moment: SharedSnapshot, progress: BackupProgress
) -> tuple[list[BackupFile], list[str]]:
    """Copy everything; return the files, and those that differ from their rows."""
    sources: dict[str, tuple[Path, str | None]] = {DUMP: (dump, None)}
    sources |= {f"{JOBS}/{file.place}": (holder.path(file), file.sha256) for file in moment.files}
    whole = sum(path.stat().st_size for path, _ in sources.values())
    files: list[BackupFile] = []
    damaged: list[str] = []
    done = 0
    for name, (path, sha256) in sources.items():
        files.append(_add(archive, name, path))
        if sha256 not in (None, files[-1].sha256):
            damaged.append(name)
        done += files[-1].bytes
        progress(done, whole)
    return files, damaged


def _add(archive: Writer, name: str, path: Path) -> BackupFile:
    with path.open("rb") as source:
        return archive.add(name, source, path.stat().st_size)


def _add_manifest(archive: Writer, manifest: Manifest, room: Path) -> None:
    draft = room / NAME
    draft.write_text(manifest.model_dump_json(indent=1))
    with draft.open("rb") as source:
        archive.add(NAME, source, draft.stat().st_size)


def _lost(file: NamedFile, files: Store) -> LostFile:
    where = "on disk" if files.in_place else f"whole in {files.url}"
    return LostFile(job=file.job, name=file.name, reason=f"{file.place} is not {where}")
