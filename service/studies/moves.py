"""Change all jobs of a study together: a few statements for any number of cells."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, text

from normlab.records import JobState
from service.jobs.quota import reserve
from service.store.events import CHANNEL

# Locked in a fixed order, so that two changes of the same jobs wait for each other without
# deadlock; the following statements see what they waited for.
_LOCK = text("""
    select count(*) from (
        select j.id from job j join study_cell c on c.job = j.id
        where c.study = :study and not c.reused and not c.pruned and j.state = any(:states)
        order by j.id for update of j
    ) locked
""")
_CELLS = """
    select c.job from study_cell c
    where c.study = :study and not c.reused and not c.pruned and c.job is not null
"""
# Does for all jobs what `states.move` and `events.record` do for one: guard, event, notification.
_CANCEL = text(f"""
    with stopped as (
        update job set state = 'cancelled', finished_at = clock_timestamp(), lease_until = null
        where id in ({_CELLS}) and state = 'queued' returning id, attempt
    ), asked as (
        update job set cancel_requested = true
        where id in ({_CELLS}) and state = 'running' and not cancel_requested returning id
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
_RETRY = text(f"""
    with again as (
        update job set state = 'queued', forgiven = attempt, cancel_requested = false,
            held = false, error = null, worker = null, not_before = null, rung_at = null,
            finished_at = null, ran_s = 0
        where id in ({_CELLS}) and state in ('failed', 'cancelled') returning id, attempt
    ), told as (
        insert into event (job, kind, payload)
        select id, 'queued', jsonb_build_object('attempt', attempt, 'cause', 'retry')
        from again returning job
    )
    select count(pg_notify(:channel, job::text)::text) from told
""")


def cancel_all(connection: Connection, study: UUID) -> int:
    """Cancel queued jobs and ask running jobs to stop; return the number of jobs."""
    _lock(connection, study, ["queued", "running"])
    values = {"study": study, "channel": CHANNEL}
    return int(connection.execute(_CANCEL, values).scalar_one())


def retry_all(connection: Connection, study: UUID, owner: str, most: int | None) -> int:
    """
    Queue failed and cancelled jobs again, all or nothing; return the number of jobs.

    Raises:
        QuotaExceeded: *owner* may have no more than *most* jobs queued.
    """
    reserve(connection, owner, _lock(connection, study, ["failed", "cancelled"]), most)
    values = {"study": study, "channel": CHANNEL}
    return int(connection.execute(_RETRY, values).scalar_one())


def _lock(connection: Connection, study: UUID, states: list[JobState]) -> int:
    values = {"study": study, "states": states}
    return int(connection.execute(_LOCK, values).scalar_one())
