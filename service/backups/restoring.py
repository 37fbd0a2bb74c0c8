"""Restore a backup into an empty data folder, as the data of an embedded stack."""

from __future__ import annotations

import shutil
from pathlib import Path

from normlab.errors import Conflict, InvalidSpec
from normlab.host.locks import held
from normlab.stacks.running import LOCK_NAME
from service.backups import tools
from service.backups.archives import Archive, reading
from service.backups.copies import put_all, refuse_filled
from service.backups.manifest import DUMP, JOBS, Manifest
from service.backups.settling import settle
from service.backups.writing import BackupProgress
from service.servers import embedded
from service.settings import Settings
from service.storage import open_store
from service.storage.store import Store
from service.store.database import Database, migrate

_BUSY = "a stack runs on {0}, or another restore fills it; wait, or name another folder"
_HALF = "restoring"


def restore(
    source: Path, settings: Settings, progress: BackupProgress = lambda *_: None
) -> Manifest:
    """
    Restore the backup *source* into the data folder of *settings*, whole or not at all.

    Jobs that ran when the backup was written are queued again with their checkpoints.

    Raises:
        InvalidSpec: *source* is no backup, is damaged, or is of a later version.
        Conflict: the data folder or the bucket of *settings* has data, a stack runs on it, or
            another restore fills it.
        ServiceUnavailable: the embedded PostgreSQL cannot be started, or the bucket does not
            answer.
    """
    _refuse_named_server(settings)
    store = open_store(settings)
    data_dir = settings.data_dir.absolute()
    with reading(source) as archive:
        archive.manifest.refuse_newer(str(source))
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with held(data_dir / LOCK_NAME, _BUSY.format(data_dir)):
            _refuse_data(data_dir)
            refuse_filled(store)
            half = data_dir / _HALF
            shutil.rmtree(half, ignore_errors=True)  # left by one that was killed
            try:
                _extract(archive, half, progress)
                _fill(half, settings, archive.manifest)
                _place(half, store, archive.manifest, progress)
                _appear(half, data_dir)
            finally:
                shutil.rmtree(half, ignore_errors=True)
    return archive.manifest


def _refuse_named_server(settings: Settings) -> None:
    if settings.database_url is not None:
        raise InvalidSpec(
            "NORMLAB_DATABASE_URL names a server of your own: restore database.dump into an empty "
            "database there with pg_restore, copy jobs/ to NORMLAB_DATA_DIR, and run `python -m "
            "service.migrate --restored`; or unset it to restore into an embedded server"
        )


def _refuse_data(data_dir: Path) -> None:
    jobs = data_dir / JOBS
    if (data_dir / "postgres").exists() or (jobs.exists() and any(jobs.iterdir())):
        raise Conflict(
            f"{data_dir} already has the data of a stack, which a restore does not touch; name an "
            f"empty folder"
        )


def _extract(archive: Archive, half: Path, progress: BackupProgress) -> None:
    (half / JOBS).mkdir(mode=0o700, parents=True)
    half.chmod(0o700)
    done, whole = 0, archive.manifest.size
    for file in archive.manifest.files:
        path = half / file.name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("wb") as out:
            archive.copy(file, out)
        done += file.bytes
        progress(done, whole)


def _fill(half: Path, settings: Settings, manifest: Manifest) -> None:
    own = settings.model_copy(update={"data_dir": half, "broker_url": "memory://"})
    servers = embedded.start(own)
    try:
        tools.load(servers.database_url, half / DUMP)
        migrate(servers.database_url)
        with Database(servers.database_url, pool_size=1) as database:
            settle(database, [(file.job, file.name) for file in manifest.lost])
    finally:
        servers.stop()


def _place(half: Path, store: Store, manifest: Manifest, progress: BackupProgress) -> None:
    """Move the files to where *store* keeps them, unless that is in the data folder."""
    jobs = half / JOBS
    folder = store.local("")
    if folder is None:
        put_all(store, half, manifest.files, progress)
        shutil.rmtree(jobs)
        jobs.mkdir(mode=0o700)
    elif folder != half.parent / JOBS:
        shutil.copytree(jobs, folder, dirs_exist_ok=True)
        shutil.rmtree(jobs)
        jobs.mkdir(mode=0o700)


def _appear(half: Path, data_dir: Path) -> None:
    # the database comes last: without it, this folder is no stack
    for name in (JOBS, "postgres"):
        (half / name).rename(data_dir / name)
