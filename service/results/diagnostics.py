"""Results of diagnostics that are not a series."""

from __future__ import annotations

from sqlalchemy import Connection, text

from normlab.events import Diagnostic
from normlab.records import DiagnosticRecord
from service.jobs.leases import Lease
from service.jobs.reading import check_exists
from service.store import events
from service.store.database import Database
from service.store.identity import parse_id

_KEEP = text("""
    insert into diagnostic (job, name, step, attempt, record)
    values (:job, :name, :step, :attempt, cast(:record as jsonb))
    on conflict (job, name, step, attempt) do update set record = excluded.record
""")
# If several attempts reached a step, the last one counts.
_READ = text("""
    select distinct on (name, step) name, step, record from diagnostic
    where job = :job and (cast(:name as text) is null or name = :name)
    order by name, step, attempt desc
""")


def keep(connection: Connection, lease: Lease, found: Diagnostic) -> None:
    """Record the result of a diagnostic, in a transaction that holds *lease*."""
    values = {"job": lease.job, "attempt": lease.attempt, "name": found.name, "step": found.step}
    record = events.to_json(found.record)
    connection.execute(_KEEP, {**values, "record": record})
    payload = {"name": found.name, "step": found.step}
    events.record(connection, lease.job, "diagnostic", payload)


def read_all(database: Database, job: str, name: str | None = None) -> list[DiagnosticRecord]:
    """Return the diagnostics of *job*, by name and step; raise NotFound if it is unknown."""
    key = parse_id(job)
    with database.autocommit() as connection:
        rows = connection.execute(_READ, {"job": key, "name": name}).mappings().all()
        if not rows:
            check_exists(connection, key)
    return [DiagnosticRecord.model_validate(dict(row)) for row in rows]
