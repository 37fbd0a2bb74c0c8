"""Move many jobs of a study together, with a few statements for any number of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from service.store.events import CHANNEL

SLICE = 300
"""The most cells that one transaction queues, cancels or moves."""

# Jobs that would start next come first: a worker may be claiming them just now, and then this
# statement waits for it. The following statements see the result.
_STAYS = "(state = 'queued' or (state = 'running' and not cancel_requested))"
_TO_CANCEL = text(f"""
    select id from job where study = :study and {_STAYS}
    order by priority desc, created_at, id limit :limit for update
""")
# Does for all jobs what `states.move` and `events.record` do for one: guard, event, notification.
_CANCEL = text("""
    with stopped as (
        update job set state = 'cancelled', finished_at = clock_timestamp(), lease_until = null
        where id = any(:jobs) and state = 'queued' returning id, attempt
    ), asked as (
        update job set cancel_requested = true
        where id = any(:jobs) and state = 'running' and not cancel_requested returning id
    ), told as (
        insert into event (job, kind, payload)
        select id, 'cancelled', jsonb_build_object('attempt', attempt, 'cause', 'requested')
        from stopped
        union all
        select id, 'cancel_requested', jsonb_build_object('cause', 'requested') from asked
        returning job
    )
    select count(pg_notify(:channel, job::text)::text) from told
""")
_CANCELLED = text(f"""
    update study set cancelling = exists (select from job where study = :study and {_STAYS})
    where id = :study
""")
_RETRY = text("""
    with again as (
        update job set state = 'queued', forgiven = attempt, cancel_requested = false,
            error = null, worker = null, not_before = null, rung_at = null,
            finished_at = null, ran_s = 0
        where id = any(:jobs) and state in ('failed', 'cancelled') returning id, attempt
    ), told as (
        insert into event (job, kind, payload)
        select id, 'queued', jsonb_build_object('attempt', attempt, 'cause', 'retry')
        from again returning job
    )
    select count(pg_notify(:channel, job::text)::text) from told
""")
_PRIORITIZE = text("""
    with next as (
        select id from job where study = :study and state = 'queued' and priority <> :priority
        order by id limit :limit for update
    )
    update job set priority = :priority from next where job.id = next.id and job.state = 'queued'
""")
# Planned cells come with their first priority.
_PRIORITIZED = text("""
    update study set priority = null where id = :study and planned = 0 and not exists (
        select from job where study = :study and state = 'queued' and priority <> :priority
    )
""")


def cancel_slice(connection: Connection, study: UUID) -> int:
    """
    Cancel the next queued jobs of *study*, and ask running ones to stop; return their number.

    The study is locked; it is being cancelled until no such job is left.
    """
    jobs = connection.execute(_TO_CANCEL, {"study": study, "limit": SLICE}).scalars().all()
    connection.execute(_CANCEL, {"jobs": jobs, "channel": CHANNEL})
    connection.execute(_CANCELLED, {"study": study})
    return len(jobs)


def retry_some(connection: Connection, jobs: Sequence[UUID]) -> None:
    """Queue those of *jobs* again that have failed or were cancelled."""
    if jobs:
        connection.execute(_RETRY, {"jobs": sorted(jobs), "channel": CHANNEL})


def prioritize_slice(connection: Connection, row: Any) -> int:
    """Move the next queued jobs of the study of *row*, which is locked, to its new priority."""
    values = {"study": row.id, "priority": row.priority, "limit": SLICE}
    moved = connection.execute(_PRIORITIZE, values).rowcount
    connection.execute(_PRIORITIZED, values)
    return moved
