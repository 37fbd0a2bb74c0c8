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
from service.results import artifacts, diagnostics, logs, metric_reports
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
    lease: Lease,
    reported: Sequence[AnyEvent],
    log: bytes = b"",
    log_start: int = 0,
) -> bool:
    """
    Keep *reported* in one transaction; if *lease* is over, keep nothing and return False.

    Args:
        log: a piece of the attempt's output that belongs to them.
        log_start: its offset in that output.
    """
    with database.begin() as connection:
        if not leases.hold(connection, lease):
            return False
        for event in reported:
            keep(connection, lease, event)
        if log:
            logs.append(connection, lease, log_start, log)
    return True


def keep(connection: Connection, lease: Lease, event: AnyEvent) -> None:
    """Keep one event, in a transaction that holds *lease*; Finished and Failed are for leases."""
    if isinstance(event, Metrics):
        metric_reports.append(connection, lease, event.series)
    elif isinstance(event, Progress):
        values = event.model_dump(include={"step", "steps", "epoch", "epochs"})
        connection.execute(_PROGRESS, {"job": lease.job, **values})
        events.notify(connection, lease.job)
    elif isinstance(event, Started):
        _begin(connection, lease, event)
    elif isinstance(event, CheckpointWritten):
        artifacts.keep_checkpoint(connection, lease, event)
    elif isinstance(event, ArtifactWritten):
        artifacts.keep_artifact(connection, lease, event)
    elif isinstance(event, Diagnostic):
        diagnostics.keep(connection, lease, event)
    else:
        raise ValueError(f"{event.type!r} ends an attempt; leases.finish and leases.fail do that")


def _begin(connection: Connection, lease: Lease, started: Started) -> None:
    attempt = {"job": lease.job, "attempt": lease.attempt, "step": started.step}
    environment = events.to_json(started.environment)
    connection.execute(_STARTED, {**attempt, "environment": environment})
    runtime = {
        "job": lease.job,
        "step": started.step,
        "runtime": started.environment.get("runtime"),
        "timing_valid": bool(started.environment.get("timing_valid", True)),
        "packed": started.environment.get("packed"),
    }
    connection.execute(_RUNTIME, runtime)
    if lease.attempt > 1:
        metric_reports.rewind(connection, lease, started.step)
        artifacts.forget_checkpoints(connection, lease, started.step)
    events.record(
        connection, lease.job, "started", {"attempt": lease.attempt, "step": started.step}
    )
