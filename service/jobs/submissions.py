"""Queue a new job with one atomic statement."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from sqlalchemy import Connection, select

from normlab.errors import FieldProblem, IdempotencyReuse, refuse
from normlab.records import JobRecord
from normlab.records.projects import DEFAULT
from normlab.specs.jobs import JobSpec
from service.jobs import priorities, quota
from service.jobs.quota import LOCK, LOCK_SHARED, MARGIN, limits
from service.jobs.records import LIVE, SHOWN, read_records, record_of
from service.requests import current_request, current_trace
from service.store import audit, schema
from service.store.audit import Actor
from service.store.database import Database, cursor_of
from service.store.events import CHANNEL
from service.store.identity import new_id, parse_id

_WRITTEN = (
    "id", "owner", "project", "name", "request_hash", "spec", "fingerprint", "normalizer", "proxy",
    "model", "dataset", "batch_size", "samples_per_update", "seed", "device", "device_reason",
    "priority", "max_attempts", "time_limit_s", "hosts", "epochs", "idempotency_key", "study",
    "cell", "steps", "code", "request", "trace",
)  # fmt: skip
# One round trip, and one commit. Queued jobs are counted up to the limits, and before the job is
# added. The last row has the result: no job if its key or cell already exists.
_TAKE_TURNS = """
    insert into turn (device, owner) values (%(device)s, %(owner)s) on conflict do nothing
"""
_SUBMIT = f"""
    with most as (
        select {limits("%(owner)s", "%(project)s", "%(most)s::int")}
    ), few as (
        select (
            select count(*) from (
                select 1 from job
                where %(most)s::int is not null and owner = %(owner)s and state = 'queued'
                limit (select greatest(of_owner, 0) from most)
            ) as queued
        ) + (
            select coalesce(sum(planned), 0) from study where owner = %(owner)s and planned > 0
        ) as owners, (
            select count(*) from (
                select 1 from job where project = %(project)s and state = 'queued'
                limit (select coalesce(greatest(of_project, 0), 0) from most)
            ) as queued
        ) + (
            select coalesce(sum(planned), 0) from study where project = %(project)s and planned > 0
                and (select of_project from most) is not null
        ) as projects
    ), added as (
        insert into job ({", ".join(_WRITTEN)})
        select {", ".join(f"%({name})s" for name in _WRITTEN)}
        from few, most where %(most)s::int is null or (
            not most.is_full and (most.highest is null or %(priority)s <= most.highest)
            and few.owners < most.of_owner - %(margin)s
            and (most.of_project is null or few.projects < most.of_project - %(margin)s))
        on conflict do nothing returning {", ".join(SHOWN)}
    ), told as (
        insert into event (job, kind, payload)
        select id, 'queued', jsonb_build_object('device', device, 'attempt', 0) from added
        returning job
    ), shown as (
        insert into upload (digest, project, owner)
        select p.digest, added.project, added.owner from added
        join plugin p on p.digest = any(added.code) and p.owner is not null
        order by p.digest on conflict do nothing
    ), audited as (
        {audit.WRITE.format(action="job.submit", target="id::text", source="added")}
    )
    select few.owners, (select json_object_agg(device, hosts) from ({LIVE}) as live),
        pg_notify(%(channel)s, told.job::text)::text, {", ".join(f"added.{name}" for name in SHOWN)}
    from few left join added on true left join told on true
"""


def submit(
    database: Database,
    spec: JobSpec,
    *,
    owner: str,
    project: str = DEFAULT,
    device: str,
    device_reason: str,
    idempotency_key: str | None = None,
    study: str | None = None,
    cell: str | None = None,
    steps: int | None = None,
    max_queued: int | None = None,
    by: Actor | None = None,
) -> tuple[JobRecord, bool]:
    """
    Queue a job for *device*; return it and whether it is new.

    The same *idempotency_key* with the same spec, in the same project, returns the existing job,
    and so does the same *cell* of the same *study*.

    Args:
        steps: updates in all, where known.
        max_queued: the most jobs that *owner* may have queued, if no limit is set for it; None: no
            limit is checked.
        by: the actor for the audit trail; None: no person requested it.

    Raises:
        IdempotencyReuse: if the key was used with another spec before.
        InvalidSpec: the priority is higher than *owner* or *project* may ask for.
        QuotaExceeded: if *owner* or *project* has too many jobs queued, or no storage left.
    """
    row = row_of(spec, owner, device, device_reason, project)
    row |= {"idempotency_key": idempotency_key, "cell": cell, "steps": steps}
    row |= Actor.values(by)
    row["study"] = None if study is None else parse_id(study, "study")
    with database.autocommit() as connection:
        job, live = _write(connection, row, max_queued)
        if job["id"] is not None:
            return record_of(job, live), True
        existing = _existing(connection, row)
        if existing is None:
            refuse(priorities.problems(connection, owner, project, spec.priority))
            raise quota.refusal(connection, owner, project, 1, max_queued)
    return existing, False


def _write(
    connection: Connection, row: dict[str, Any], most: int | None
) -> tuple[dict[str, Any], dict[str, int]]:
    """Add the job if it is new and within the limits; return it (or None), and the live devices."""
    if most is not None and most > MARGIN:
        job, live = _added(connection, row, most, LOCK_SHARED, MARGIN)
        if job["id"] is not None:
            return job, live
    return _added(connection, row, most, LOCK)


def _added(
    connection: Connection, row: dict[str, Any], most: int | None, lock: str, margin: int = 0
) -> tuple[dict[str, Any], dict[str, int]]:
    values = {**row, "spec": orjson.dumps(row["spec"]).decode(), "most": most, "channel": CHANNEL}
    values["margin"] = margin
    cursor = cursor_of(connection)
    # One round trip and one transaction; the second statement sees what the first one waited for.
    with cursor.connection.pipeline():
        # after the lock, as studies do, or each of two transactions could wait for the other
        if most is not None:
            cursor.execute(lock, {"owner": row["owner"], "project": row["project"]})
        cursor.execute(_TAKE_TURNS, {"device": row["device"], "owner": row["owner"]})
        answer = cursor.execute(_SUBMIT, values).fetchone()
    assert answer is not None
    _, live, _, *written = answer
    return dict(zip(SHOWN, written, strict=True)), live or {}


def row_of(
    spec: JobSpec, owner: str, device: str, device_reason: str, project: str = DEFAULT
) -> dict[str, Any]:
    """Make the table row of a new job."""
    content = spec.model_dump(mode="json")
    return {
        "id": new_id(),
        "owner": owner,
        "project": project,
        "name": spec.name,
        "request_hash": hashlib.sha256(orjson.dumps(content)).hexdigest(),
        "spec": content,
        "fingerprint": spec.fingerprint(),
        "normalizer": content["normalizer"]["kind"],
        "proxy": content["normalizer"].get("proxy", False),
        "model": spec.model.name,
        "dataset": spec.dataset.name,
        "batch_size": spec.batch_size,
        "samples_per_update": spec.samples_per_update,
        "seed": spec.seed,
        "device": device,
        "device_reason": device_reason,
        "priority": spec.priority,
        "max_attempts": spec.max_attempts,
        "time_limit_s": spec.time_limit_s,
        "hosts": spec.hosts or 1,
        "epochs": spec.epochs,
        "code": list(spec.code),
        "request": current_request(),
        "trace": current_trace(),
    }


def _existing(connection: Connection, row: dict[str, Any]) -> JobRecord | None:
    j = schema.job.c
    known = select(j.id, j.request_hash)
    whose = known.where(j.owner == row["owner"], j.project == row["project"])
    by_key = whose.where(j.idempotency_key == row["idempotency_key"])
    by_cell = known.where(j.study == row["study"], j.cell == row["cell"])
    found = None
    if row["idempotency_key"] is not None:
        found = connection.execute(by_key).first()
        _check_same_body(row, found)
    if found is None and row["cell"] is not None:
        found = connection.execute(by_cell).first()
    return None if found is None else read_records(connection, [found.id])[0]


def _check_same_body(row: dict[str, Any], found: Any) -> None:
    if found is not None and found.request_hash != row["request_hash"]:
        raise IdempotencyReuse(
            f"idempotency key {row['idempotency_key']!r} came with another body before, for job "
            f"{found.id}; send the same body again, or a new key for a new job",
            [FieldProblem("Idempotency-Key", "one key, one body")],
        )
