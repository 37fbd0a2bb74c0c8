"""The state machine of a job, and the only function that changes a job's state."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, update

from normlab.records import JobState
from service.store import events, schema

MOVES: Mapping[JobState, frozenset[JobState]] = {
    "queued": frozenset({"running", "cancelled"}),
    "running": frozenset({"succeeded", "failed", "cancelled", "queued"}),
    "succeeded": frozenset(),
    "failed": frozenset({"queued"}),  # by retry
    "cancelled": frozenset({"queued"}),  # by retry
}


def move(
    connection: Connection,
    job: UUID,
    origin: Collection[JobState],
    to: JobState,
    *,
    attempt: int | None = None,
    changes: Mapping[str, Any] | None = None,
    payload: Mapping[str, Any] | None = None,
) -> bool:
    """
    Move *job* to state *to* if it is in one of *origin* and, where given, at *attempt*.

    Returns whether the state changed; if False, nothing else changed either. Writes an event.

    Args:
        attempt: the fencing token; a worker whose attempt is over can change nothing.
        changes: further columns of the job to change with the state.
        payload: the content of the event besides the state.
    """
    for state in origin:
        if to not in MOVES[state]:
            raise ValueError(f"no job goes from {state} to {to}; MOVES lists what may happen")
    j = schema.job.c
    guarded = (
        update(schema.job)
        .where(j.id == bindparam("the_job"), j.state.in_(sorted(origin)))
        .values(state=to, **(changes or {}))
        .returning(j.attempt)
    )
    values: dict[str, Any] = {"the_job": job}
    if attempt is not None:
        guarded = guarded.where(j.attempt == bindparam("the_attempt"))
        values["the_attempt"] = attempt
    if to in ("succeeded", "failed", "cancelled"):
        guarded = guarded.values(finished_at=func.clock_timestamp(), lease_until=None)
    row = connection.execute(guarded, values).first()
    if row is None:
        return False
    events.record(connection, job, to, {"attempt": row.attempt, **(payload or {})})
    return True
