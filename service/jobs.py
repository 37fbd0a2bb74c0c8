"""Jobs as their owners see them: submit, look, cancel, retry."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, select, text

from normlab.errors import Conflict, FieldProblem, IdempotencyReuse, NotFound, QuotaExceeded
from normlab.records import ENDED, AttemptRecord, JobDetail, JobRecord
from normlab.specs.jobs import JobSpec
from service import events, schema, states
from service.database import Database
from service.identity import new_id, parse_id
from service.listing import JobFilters, list_jobs, new_record, read_records

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

_TURN = text("insert into turn (device, owner) values (:device, :owner) on conflict do nothing")
_QUEUED = text(
    "select count(*) from"
    " (select 1 from job where owner = :owner and state = 'queued' limit :limit) as few"
)
_AHEAD = text(
    "select count(*) from job where state = 'queued' and device = :device and priority >= :priority"
)
_COUNTS = text("select state, device, count(*) as n from job group by state, device")
_STATE = text("select state, cancel_requested from job where id = :job for update")
_ATTEMPTS = text("select * from attempt where job = :job order by number")


def submit(
    database: Database,
    spec: JobSpec,
    *,
    owner: str,
    device: str,
    device_reason: str,
    idempotency_key: str | None = None,
    study: str | None = None,
    cell: str | None = None,
    steps: int | None = None,
    max_queued: int | None = None,
) -> tuple[JobRecord, bool]:
    """
    Queue a job on *device*; return it and whether it is new.

    The same *idempotency_key* with the same spec gives the job that is there already, and so
    does the same *cell* of the same *study*.

    Args:
        steps: updates in all, where known.
        max_queued: the most jobs that *owner* may have queued.

    Raises:
        IdempotencyReuse: if the key came with another spec before.
        QuotaExceeded: if *owner* has too many jobs queued.
    """
    row = row_of(spec, owner, device, device_reason)
    row |= {"idempotency_key": idempotency_key, "cell": cell, "steps": steps}
    row["study"] = None if study is None else parse_id(study, "study")
    with database.begin() as connection:
        job = new_record(connection, row)
        if job is None:
            return _existing(connection, row), False
        _check_quota(connection, owner, max_queued)
        connection.execute(_TURN, {"device": device, "owner": owner})
        events.record(connection, row["id"], "queued", {"device": device, "attempt": 0})
        return job, True


def get(database: Database, job: str) -> JobDetail:
    """Return everything about one job; raise NotFound if there is none of that name."""
    with database.begin() as connection:
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
    state, requested = _locked(connection, job)
    if state in ENDED:
        raise Conflict(f"job {job} is {state} already, so there is nothing to cancel")
    if state == "queued":
        states.move(connection, job, ["queued"], "cancelled", payload={"cause": cause})
    elif not requested:
        _request_cancel(connection, job, cause)


def retry(database: Database, job: str) -> JobDetail:
    """
    Queue a failed or cancelled job again, with as many attempts as a new one; history stays.

    Raises:
        Conflict: if the job is queued, running or succeeded.
    """
    with database.begin() as connection:
        key = parse_id(job)
        retry_within(connection, key)
        return _detail(connection, key)


def retry_within(connection: Connection, job: UUID) -> None:
    """Queue a job again in a transaction that does more; see retry."""
    state, _ = _locked(connection, job)
    if state not in ("failed", "cancelled"):
        raise Conflict(f"job {job} is {state}; only a failed or cancelled job can be tried again")
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
    with database.begin() as connection:
        values = {"device": device, "priority": priority}
        return int(connection.execute(_AHEAD, values).scalar_one()) + 1


def count_by_state(database: Database) -> dict[tuple[str, str], int]:
    """Count the jobs of each state and device."""
    with database.begin() as connection:
        return {(row.state, row.device): row.n for row in connection.execute(_COUNTS)}


def row_of(spec: JobSpec, owner: str, device: str, device_reason: str) -> dict[str, Any]:
    """Make a new job's row of the table."""
    content = spec.model_dump(mode="json")
    return {
        "id": new_id(),
        "owner": owner,
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
        "epochs": spec.epochs,
    }


def _existing(connection: Connection, row: dict[str, Any]) -> JobRecord:
    j = schema.job.c
    by_key = (j.owner == row["owner"]) & (j.idempotency_key == row["idempotency_key"])
    by_cell = (j.study == row["study"]) & (j.cell == row["cell"])
    found = connection.execute(select(j.id, j.request_hash).where(by_key)).first()
    if found is not None and found.request_hash != row["request_hash"]:
        raise IdempotencyReuse(
            f"idempotency key {row['idempotency_key']!r} came with another body before, for job "
            f"{found.id}; send the same body again, or a new key for a new job",
            [FieldProblem("Idempotency-Key", "one key, one body")],
        )
    if found is None:
        found = connection.execute(select(j.id).where(by_cell)).one()
    return read_records(connection, [found.id])[0]


def _check_quota(connection: Connection, owner: str, max_queued: int | None) -> None:
    if max_queued is None:
        return
    queued = connection.execute(_QUEUED, {"owner": owner, "limit": max_queued + 1}).scalar_one()
    if queued > max_queued:
        raise QuotaExceeded(
            f"{owner!r} has {max_queued} jobs queued, which is the most this service allows; "
            "try again when some have started"
        )


def _locked(connection: Connection, job: UUID) -> tuple[Any, bool]:
    row = connection.execute(_STATE, {"job": job}).first()
    if row is None:
        raise _unknown(str(job))
    return row.state, row.cancel_requested


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
        spec=JobSpec.model_validate(spec),
        attempts=[
            AttemptRecord.model_validate({**a, "resumed_from_step": a["resumed_from_step"] or 0})
            for a in attempts
        ],
    )


def _unknown(job: str) -> NotFound:
    return NotFound(f"there is no job {job!r}; GET /v1/jobs lists all")
