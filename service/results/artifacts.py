"""
Files that jobs write: checkpoints, and files for download.

Their places are kept relative to the folder of job folders, so that a stack's data can be moved,
restored elsewhere, and mounted at another place on each host.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.errors import NotFound
from normlab.events import ArtifactWritten, CheckpointWritten
from normlab.records import ArtifactRecord
from service.jobs.leases import Lease
from service.jobs.reading import check_exists
from service.storage.store import StoredFile
from service.store import events
from service.store.database import Database
from service.store.identity import parse_id

_KEEP = text("""
    insert into artifact (job, name, kind, attempt, path, sha256, bytes, step)
    values (:job, :name, :kind, :attempt, :path, :sha256, :bytes, :step)
    on conflict (job, name) do update set kind = excluded.kind, attempt = excluded.attempt,
        path = excluded.path, sha256 = excluded.sha256, bytes = excluded.bytes,
        step = excluded.step, created_at = clock_timestamp()
""")
_PRUNE = text("""
    delete from artifact where job = :job and kind = 'checkpoint' and name not in
        (select name from artifact where job = :job and kind = 'checkpoint'
         order by attempt desc, step desc limit :keep)
""")
_FORGET = text("delete from artifact where job = :job and kind = 'checkpoint' and step > :step")
_LIST = text("""
    select name, kind, attempt, path, sha256, bytes, step from artifact
    where job = :job order by kind, step, name
""")
_ONE = text("select path, sha256, bytes from artifact where job = :job and name = :name")
_PLACES = text("""
    select path from artifact where job = :job
    union all select path from discarded where job = :job and freed_at is null
""")


def keep_checkpoint(connection: Connection, lease: Lease, written: CheckpointWritten) -> None:
    """Record a checkpoint, in a transaction that holds *lease*; only the newest are kept."""
    name = Path(written.path).name
    _keep(connection, lease, written, name, "checkpoint", written.step)
    connection.execute(_PRUNE, {"job": lease.job, "keep": lease.spec.checkpoint.keep})
    payload = {"step": written.step, "bytes": written.bytes, "attempt": lease.attempt}
    events.record(connection, lease.job, "checkpoint", payload)


def forget_checkpoints(connection: Connection, lease: Lease, step: int) -> None:
    """
    Forget the checkpoints after *step*, from which *lease* continues. The reports between *step*
    and them are replaced, so no later attempt may start from them.
    """
    connection.execute(_FORGET, {"job": lease.job, "step": step})


def keep_artifact(connection: Connection, lease: Lease, written: ArtifactWritten) -> None:
    """Record a file, in a transaction that holds *lease*; one with the same name is replaced."""
    _keep(connection, lease, written, written.name, _kind(written.name), None)
    events.record(connection, lease.job, "artifact", {"name": written.name})


def read_all(database: Database, job: str) -> list[ArtifactRecord]:
    """Return the files of *job*; raise NotFound if there is no such job."""
    key = parse_id(job)
    with database.autocommit() as connection:
        rows = connection.execute(_LIST, {"job": key}).mappings().all()
        if not rows:
            check_exists(connection, key)
    return [ArtifactRecord.model_validate(dict(row)) for row in rows]


def stored(database: Database, job: str, name: str) -> StoredFile:
    """Return where the file *name* of *job* is stored; raise NotFound if there is none."""
    key = parse_id(job)
    with database.autocommit() as connection:
        row = connection.execute(_ONE, {"job": key, "name": name}).first()
        removed = None if row is not None else removal(connection, key, name)
    if removed is not None:
        raise NotFound(f"the file {name!r} of job {job} was {removed}")
    if row is None:
        raise NotFound(f"job {job} has no file {name!r}; the list of its files has all")
    return StoredFile(row.path, row.sha256, row.bytes)


def recorded_places(database: Database, job: UUID) -> set[str]:
    """Return the places of all files of *job* that are recorded, or discarded and still there."""
    with database.autocommit() as connection:
        return set(connection.execute(_PLACES, {"job": job}).scalars())


def place_of(path: str, job: UUID) -> str:
    """Return the place of the file that a process of *job* wrote to *path*."""
    _, inside, rest = path.rpartition(f"/{job}/")
    return f"{job}/{rest}" if inside else path


def _keep(
    connection: Connection,
    lease: Lease,
    written: CheckpointWritten | ArtifactWritten,
    name: str,
    kind: str,
    step: int | None,
) -> None:
    values = {"job": lease.job, "attempt": lease.attempt, "name": name, "kind": kind, "step": step}
    values |= {"path": place_of(written.path, lease.job), "sha256": written.sha256}
    values["bytes"] = written.bytes
    connection.execute(_KEEP, values)


def _kind(name: str) -> str:
    if name.endswith((".safetensors", ".pt")):
        return "weights"
    return "log" if name.endswith((".log", ".txt")) else "table"


_LAST = text("""
    select to_char(max(discarded_at) at time zone 'UTC', 'YYYY-MM-DD') as day from discarded
    where job = :job and (name = :what or kind = :what)
""")


def removal(connection: Connection, job: UUID, what: str) -> str | None:
    """
    Say when files of *job* were removed; None: no file was removed.

    Args:
        what: the name of a file, or a kind of files.
    """
    day = connection.execute(_LAST, {"job": job, "what": what}).scalar()
    if day is None:
        return None
    return f"removed on {day} (UTC) by the keep-rules of its project"
