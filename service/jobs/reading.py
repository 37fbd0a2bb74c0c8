"""Read jobs for their owners: one job with all its data, and how many wait before it."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, select, text

from normlab.errors import NotFound
from normlab.records import AttemptRecord, JobDetail
from normlab.specs.jobs import JobSpec
from service.jobs.records import read_records
from service.store import schema
from service.store.database import Database
from service.store.identity import parse_id

_AHEAD = text(
    "select count(*) from job where state = 'queued' and device = :device and priority >= :priority"
)
_ONE = text("select 1 from job where id = :job")
_ATTEMPTS = text("select * from attempt where job = :job order by number")


def get(database: Database, job: str) -> JobDetail:
    """Return all data of one job; raise NotFound if it does not exist."""
    with database.autocommit() as connection:
        return detail(connection, parse_id(job))


def queue_position(database: Database, device: str, priority: int = 0) -> int:
    """Return the largest number of queued jobs for *device* before a new one, plus one."""
    with database.autocommit() as connection:
        values = {"device": device, "priority": priority}
        return int(connection.execute(_AHEAD, values).scalar_one()) + 1


def detail(connection: Connection, job: UUID) -> JobDetail:
    """Read a job within a larger transaction; see get."""
    records = read_records(connection, [job], all_metrics=True)
    if not records:
        raise unknown(str(job))
    spec = connection.execute(select(schema.job.c.spec).where(schema.job.c.id == job)).scalar_one()
    attempts = connection.execute(_ATTEMPTS, {"job": job}).mappings().all()
    return JobDetail(
        **records[0].model_dump(),
        spec=JobSpec.from_store(spec),
        attempts=[
            AttemptRecord.model_validate({**a, "resumed_from_step": a["resumed_from_step"] or 0})
            for a in attempts
        ],
    )


def check_exists(connection: Connection, job: UUID) -> None:
    """Raise NotFound if there is no *job*."""
    if connection.execute(_ONE, {"job": job}).first() is None:
        raise unknown(str(job))


def unknown(job: str) -> NotFound:
    """Return the error for an unknown job."""
    return NotFound(f"there is no job {job!r}; the list of jobs has all")
