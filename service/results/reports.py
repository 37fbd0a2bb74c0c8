"""Store the reports of a running attempt in the tables, event by event."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from normlab.events import (
    AnyEvent,
    ArtifactWritten,
    CheckpointWritten,
    Diagnostic,
    Metrics,
    Progress,
    Started,
)
from service.jobs import leases
from service.jobs.leases import Lease
from service.results import artifacts, diagnostics, logs, metrics
from service.store import events
from service.store.database import Database

_STARTED = text("""
    update attempt set resumed_from_step = :step, environment = cast(:environment as jsonb)
    where job = :job and number = :attempt
""")
_RUNTIME = text("""
    with shared as (
        select case when :step = 0 then cast(:packed as smallint)
            else greatest(packed, cast(:packed as smallint)) end as packed
        from job where id = :job
    )
    update job set runtime = :runtime, step = :step, packed = shared.packed,
        timing_valid = :timing_valid and shared.packed is null
    from shared where id = :job
""")
_PROGRESS = text("""
    update job set step = :step, steps = :steps, epoch = :epoch, epochs = :epochs where id = :job
""")


def keep_all(
    database: Database,
    claim: Lease,
    reported: Sequence[AnyEvent],
    log: bytes = b"",
    log_start: int = 0,
) -> bool:
    """
    Keep *reported* in one transaction; if *claim* is over, keep nothing and return False.

    Args:
        log: a piece of the attempt's output that belongs to them.
        log_start: its offset in that output.
    """
    with database.begin() as connection:
        if not leases.hold(connection, claim):
            return False
        for event in reported:
            keep(connection, claim, event)
        if log:
            logs.append(connection, claim, log_start, log)
    return True


def keep(connection: Connection, claim: Lease, event: AnyEvent) -> None:
    """Keep one event, in a transaction that holds *claim*; Finished and Failed are for leases."""
    if isinstance(event, Metrics):
        metrics.append(connection, claim, event.series)
    elif isinstance(event, Progress):
        values = event.model_dump(include={"step", "steps", "epoch", "epochs"})
        connection.execute(_PROGRESS, {"job": claim.job, **values})
        events.notify(connection, claim.job)
    elif isinstance(event, Started):
        _begin(connection, claim, event)
    elif isinstance(event, CheckpointWritten):
        artifacts.keep_checkpoint(connection, claim, event)
    elif isinstance(event, ArtifactWritten):
        artifacts.keep_artifact(connection, claim, event)
    elif isinstance(event, Diagnostic):
        diagnostics.keep(connection, claim, event)
    else:
        raise ValueError(f"{event.type!r} ends an attempt; leases.finish and leases.fail do that")


def _begin(connection: Connection, claim: Lease, started: Started) -> None:
    attempt = {"job": claim.job, "attempt": claim.attempt, "step": started.step}
    environment = events.to_json(started.environment)
    connection.execute(_STARTED, {**attempt, "environment": environment})
    runtime = {
        "job": claim.job,
        "step": started.step,
        "runtime": started.environment.get("runtime"),
        "timing_valid": bool(started.environment.get("timing_valid", True)),
        "packed": started.environment.get("packed"),
    }
    connection.execute(_RUNTIME, runtime)
    if claim.attempt > 1:
        metrics.rewind(connection, claim, started.step)
        artifacts.forget_checkpoints(connection, claim, started.step)
    events.record(
        connection, claim.job, "started", {"attempt": claim.attempt, "step": started.step}
    )
