"""Changes that owners make to jobs: cancel one, or queue it again; or several, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.errors import Conflict, Forbidden, NotFound
from normlab.records import ENDED, JobDetail
from normlab.records.tables import Changed
from service.jobs import states
from service.jobs.quota import reserve
from service.jobs.reading import detail, unknown
from service.store import audit, events, schema
from service.store.audit import Actor
from service.store.database import Database
from service.store.identity import parse_id

_STATE = text(
    "select state, owner, project, cancel_requested, trashed_at from job where id = :job for update"
)
_REFUSALS = (Conflict, Forbidden, NotFound)
"""Errors that concern one job; a database that does not answer, for example, concerns all."""


def cancel(database: Database, job: str, by: Actor | None = None) -> JobDetail:
    """
    Cancel a queued job immediately; ask a running job to stop, which takes at most a heartbeat.

    Args:
        by: the actor for the audit trail; None: no person requested it.

    Raises:
        Conflict: if the job has ended.
    """
    with database.begin() as connection:
        key = parse_id(job)
        cancel_within(connection, key)
        audit.write(connection, by, "job.cancel", key)
        return detail(connection, key)


def cancel_within(connection: Connection, job: UUID, cause: str = "requested") -> None:
    """Cancel a job within a larger transaction; see cancel. The event contains *cause*."""
    row = _locked(connection, job)
    if row.state in ENDED:
        raise Conflict(f"job {job} is already {row.state}, so there is nothing to cancel")
    if row.state == "queued":
        states.move(connection, job, ["queued"], "cancelled", payload={"cause": cause})
    elif not row.cancel_requested:
        _request_cancel(connection, job, cause)


def retry(
    database: Database, job: str, max_queued: int | None = None, by: Actor | None = None
) -> JobDetail:
    """
    Queue a failed or cancelled job again, with as many attempts as a new one; keep its history.

    Raises:
        Conflict: if the job is queued, running or succeeded.
        QuotaExceeded: if its owner would have more than *max_queued* jobs queued.
    """
    with database.begin() as connection:
        key = parse_id(job)
        retry_within(connection, key, max_queued)
        audit.write(connection, by, "job.retry", key)
        return detail(connection, key)


def retry_within(connection: Connection, job: UUID, max_queued: int | None = None) -> None:
    """Queue a job again within a larger transaction; see retry."""
    row = _locked(connection, job)
    state = row.state
    if state not in ("failed", "cancelled"):
        raise Conflict(f"job {job} is {state}; only a failed or cancelled job can be tried again")
    reserve(connection, row.owner, row.project, 1, max_queued)
    changes = {
        "forgiven": schema.job.c.attempt,
        "cancel_requested": False,
        "error": None,
        "worker": None,
        "not_before": None,
        "rung_at": None,
        "finished_at": None,
        "ran_s": 0.0,
    }
    states.move(connection, job, [state], "queued", changes=changes, payload={"cause": "retry"})


def _locked(connection: Connection, job: UUID) -> Any:
    row = connection.execute(_STATE, {"job": job}).first()
    if row is None:
        raise unknown(str(job))
    if row.trashed_at is not None:
        raise Conflict(f"job {job} is in the trash; restore it first")
    return row


def _request_cancel(connection: Connection, job: UUID, cause: str) -> None:
    j = schema.job.c
    connection.execute(schema.job.update().where(j.id == job).values(cancel_requested=True))
    events.record(connection, job, "cancel_requested", {"cause": cause})


def change_each(jobs: Sequence[str], each: Callable[[str], Any]) -> Changed:
    """
    Do *each* for every one of *jobs*; return which were changed, and why others were not.

    If one refuses, the others are still changed.
    """
    done: list[str] = []
    refused: dict[str, str] = {}
    for job in dict.fromkeys(jobs):
        try:
            each(job)
        except _REFUSALS as e:
            refused[job] = str(e)
        else:
            done.append(job)
    return Changed(done=done, refused=refused)
