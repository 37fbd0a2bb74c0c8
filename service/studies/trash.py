"""Studies in the trash, with those of their jobs that are in no other study."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from normlab.errors import Conflict
from normlab.records import StudyRecord
from service.store import audit
from service.store.audit import Actor
from service.store.database import Database
from service.studies.records import read_records
from service.studies.studies import locked

_OPEN = ("planned", "queued", "running")
_TRASH = text("""
    update study set trashed_at = clock_timestamp() where id = :study returning trashed_at
""")
_TRASH_JOBS = text("""
    update job set trashed_at = :moment
    where study = :study and trashed_at is null and not exists (
        select from study_cell c join study s on s.id = c.study
        where c.job = job.id and s.trashed_at is null
    )
""")
_RESTORE = text("update study set trashed_at = null where id = :study")
# those that went with the study, not those that were in the trash before
_RESTORE_JOBS = text("""
    update job set trashed_at = null where study = :study and trashed_at = :moment
""")
_ANOTHER = text("""
    select id from study
    where owner = :owner and project = :project and fingerprint = :fingerprint
        and trashed_at is null
""")


def trash(database: Database, study: str, by: Actor | None = None) -> StudyRecord:
    """
    Move a study into the trash, with those of its jobs that are in no other study.

    The same specification is a new study from now on, and its cells are computed again.

    Raises:
        Conflict: some of its jobs have not ended, or it may add jobs.
    """
    with database.begin() as connection:
        row = locked(connection, study)
        if row.trashed_at is None:
            _refuse_if_open(read_records(connection, [row.id])[0], row)
            moment = connection.execute(_TRASH, {"study": row.id}).scalar_one()
            connection.execute(_TRASH_JOBS, {"study": row.id, "moment": moment})
            audit.write(connection, by, "study.delete", row.id)
        return read_records(connection, [row.id])[0]


def restore(database: Database, study: str, by: Actor | None = None) -> StudyRecord:
    """
    Take a study out of the trash, with the jobs that went with it.

    Raises:
        Conflict: it is not in the trash, or the same study was created again in the meantime.
    """
    with database.begin() as connection:
        row = locked(connection, study)
        if row.trashed_at is None:
            raise Conflict(f"study {study} is not in the trash")
        _refuse_if_made_again(connection, row)
        connection.execute(_RESTORE, {"study": row.id})
        connection.execute(_RESTORE_JOBS, {"study": row.id, "moment": row.trashed_at})
        audit.write(connection, by, "study.restore", row.id)
        return read_records(connection, [row.id])[0]


def _refuse_if_open(record: StudyRecord, row: Any) -> None:
    unfinished = sum(record.counts.get(state, 0) for state in _OPEN)
    adds = row.state in ("active", "paused") and {"search", "decide"} & set(row.spec)
    if unfinished or adds or row.cancelling:
        what = f"{unfinished} of its jobs have not ended" if unfinished else "it may add jobs"
        raise Conflict(
            f"study {record.id} is {record.state}: {what}; cancel it before you delete it"
        )


def _refuse_if_made_again(connection: Connection, row: Any) -> None:
    values = {"owner": row.owner, "project": row.project, "fingerprint": row.fingerprint}
    other = connection.execute(_ANOTHER, values).scalar()
    if other is not None:
        raise Conflict(f"study {other} has the same specification; delete that one first")
