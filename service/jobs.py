"""Jobs as their owners see them: submit, look, cancel, retry."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, text

from normlab.errors import Conflict, NotFound
from normlab.records import ENDED, AttemptRecord, JobDetail
from normlab.specs.jobs import JobSpec
from service import events, schema, states
from service.database import Database
from service.identity import parse_id
from service.job_records import read_records
from service.listing import JobFilters, list_jobs
from service.quota import reserve
from service.submissions import row_of, submit

__all__ = [
    "JobFilters",
    "cancel",
    "cancel_within",
    "count_by_state",
    "get",
    "list_jobs",
    "queue_position",
    "retry",
    "retry_within",
    "row_of",
    "submit",
]

_AHEAD = text(
    "select count(*) from job where state = 'queued' and device = :device and priority >= :priority"
)
_COUNTS = text("select state, device, count(*) as n from job group by state, device")
_STATE = text("select state, owner, cancel_requested from job where id = :job for update")
_ATTEMPTS = text("select * from attempt where job = :job order by number")


def get(database: Database, job: str) -> JobDetail:
    """Return everything about one job; raise NotFound if there is none of that name."""
    with database.autocommit() as connection:
        return _detail(connection, parse_id(job))


def cancel(database: Database, job: str) -> JobDetail:
    """
    Cancel a queued job at once; ask a running one to stop, which it does within a heartbeat.

    Raises:
        Conflict: if the job has ended.
    """
    with database.begin() as connection:
        key = parse_id(job)
        cancel_within(connection, key)
        return _detail(connection, key)


def cancel_within(connection: Connection, job: UUID, cause: str = "requested") -> None:
    """Cancel a job in a transaction that does more; see cancel. *cause* stands in its event."""
    row = _locked(connection, job)
    if row.state in ENDED:
        raise Conflict(f"job {job} is {row.state} already, so there is nothing to cancel")
    if row.state == "queued":
        states.move(connection, job, ["queued"], "cancelled", payload={"cause": cause})
    elif not row.cancel_requested:
        _request_cancel(connection, job, cause)


def retry(database: Database, job: str, max_queued: int | None = None) -> JobDetail:
    """
    Queue a failed or cancelled job again, with as many attempts as a new one; history stays.

    Raises:
        Conflict: if the job is queued, running or succeeded.
        QuotaExceeded: if its owner would have more than *max_queued* jobs queued.
    """
    with database.begin() as connection:
        key = parse_id(job)
        retry_within(connection, key, max_queued)
        return _detail(connection, key)


def retry_within(connection: Connection, job: UUID, max_queued: int | None = None) -> None:
    """Queue a job again in a transaction that does more; see retry."""
    row = _locked(connection, job)
    state = row.state
    if state not in ("failed", "cancelled"):
        raise Conflict(f"job {job} is {state}; only a failed or cancelled job can be tried again")
    reserve(connection, row.owner, 1, max_queued)
    changes = {
        "forgiven": schema.job.c.attempt,
        "cancel_requested": False,
        "held": False,
        "error": None,
        "worker": None,
        "not_before": None,
        "rung_at": None,
        "finished_at": None,
        "ran_s": 0.0,
    }
    states.move(connection, job, [state], "queued", changes=changes, payload={"cause": "retry"})


def queue_position(database: Database, device: str, priority: int = 0) -> int:
    """Return how many queued jobs for *device* a new one would at most wait for, plus one."""
    with database.autocommit() as connection:
        values = {"device": device, "priority": priority}
        return int(connection.execute(_AHEAD, values).scalar_one()) + 1


def count_by_state(database: Database) -> dict[tuple[str, str], int]:
    """Count the jobs of each state and device."""
    with database.autocommit() as connection:
        return {(row.state, row.device): row.n for row in connection.execute(_COUNTS)}


def _locked(connection: Connection, job: UUID) -> Any:
    row = connection.execute(_STATE, {"job": job}).first()
    if row is None:
        raise _unknown(str(job))
    return row


def _request_cancel(connection: Connection, job: UUID, cause: str) -> None:
    j = schema.job.c
    connection.execute(schema.job.update().where(j.id == job).values(cancel_requested=True))
    events.record(connection, job, "cancel_requested", {"cause": cause})


def _detail(connection: Connection, job: UUID) -> JobDetail:
    records = read_records(connection, [job], all_metrics=True)
    if not records:
        raise _unknown(str(job))
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


def _unknown(job: str) -> NotFound:
    return NotFound(f"there is no job {job!r}; GET /v1/jobs lists all")
