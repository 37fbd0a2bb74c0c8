"""The trash: ended jobs that were deleted, and that can be restored until they are purged."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.errors import Conflict
from normlab.records import ENDED, JobDetail
from service.jobs.reading import detail, unknown
from service.store import audit, events
from service.store.audit import Actor
from service.store.database import Database
from service.store.identity import parse_id

_STATE = text("select id, state, trashed_at from job where id = :job for update")
_SHOWN_BY = text("""
    select s.id, s.name from study_cell c join study s on s.id = c.study
    where c.job = :job and s.trashed_at is null limit 1
""")
# its weights or weight norms, wherever the specification names it
_READ_BY = text("""
    select id from job
    where state in ('queued', 'running') and id <> :job
        and strpos(spec::text, cast(:job as text)) > 0
    limit 1
""")
_TRASH = text("update job set trashed_at = clock_timestamp() where id = :job")
_RESTORE = text("update job set trashed_at = null where id = :job")


def trash(database: Database, job: str, by: Actor | None = None) -> JobDetail:
    """
    Move an ended job into the trash; one that is already there stays as it is.

    Lists, studies and searches for finished cells do not see it any more. It can be restored
    until it is purged with everything that it wrote.

    Args:
        by: the actor for the audit trail; None: no person requested it.

    Raises:
        Conflict: the job has not ended, a study shows it, or a waiting job reads from it.
    """
    with database.begin() as connection:
        row = _locked(connection, job)
        if row.trashed_at is None:
            _refuse_if_needed(connection, row)
            connection.execute(_TRASH, {"job": row.id})
            events.record(connection, row.id, "trashed", {})
            audit.write(connection, by, "job.delete", row.id)
        return detail(connection, row.id)


def restore(database: Database, job: str, by: Actor | None = None) -> JobDetail:
    """Take a job out of the trash; raise Conflict if it is not there."""
    with database.begin() as connection:
        row = _locked(connection, job)
        if row.trashed_at is None:
            raise Conflict(f"job {job} is not in the trash")
        connection.execute(_RESTORE, {"job": row.id})
        events.record(connection, row.id, "restored", {})
        audit.write(connection, by, "job.restore", row.id)
        return detail(connection, row.id)


def _locked(connection: Connection, job: str) -> Any:
    key: UUID = parse_id(job)
    row = connection.execute(_STATE, {"job": key}).first()
    if row is None:
        raise unknown(job)
    return row


def _refuse_if_needed(connection: Connection, row: Any) -> None:
    if row.state not in ENDED:
        raise Conflict(f"job {row.id} is {row.state}; cancel it before you delete it")
    study = connection.execute(_SHOWN_BY, {"job": row.id}).first()
    if study is not None:
        raise Conflict(
            f"job {row.id} is a cell of study {study.name!r} ({study.id}), whose results need it; "
            "delete the study"
        )
    reader = connection.execute(_READ_BY, {"job": row.id}).scalar()
    if reader is not None:
        raise Conflict(f"job {row.id} is read by job {reader}, which has not ended yet")
