"""
Leases on jobs: claim a job, renew its lease, give it back, or end its attempt.

A lease is for one numbered attempt. A write of a worker is valid only while the job runs at that
attempt, so a worker that lost its lease and comes back can change nothing. All times are the
database's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, case, func, text

from normlab.errors import InvalidSpec
from normlab.events import Failed, Finished
from normlab.records import HostRecord, JobState
from normlab.specs.jobs import JobSpec
from service.jobs import consumption, states, tallies
from service.jobs.turns import Unjudged, in_turn, judging
from service.plugins.abilities import Ability
from service.storage.store import StoredFile
from service.store import events, schema
from service.store.database import Database, cursor_of


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file from which an attempt can resume."""

    step: int
    path: str
    """Its place among the files of jobs."""
    sha256: str
    bytes: int

    @property
    def file(self) -> StoredFile:
        """The file."""
        return StoredFile(self.path, self.sha256, self.bytes)


@dataclass(frozen=True)
class Wait:
    """The times before an attempt, by the clock of the database, in seconds since the epoch."""

    since_s: float
    until_s: float
    lost_since_s: float | None
    """When the attempt before it began, if its worker was lost."""


@dataclass(frozen=True)
class Lease:
    """A job that this worker may work on, as long as it keeps its lease."""

    job: UUID
    attempt: int
    worker: str
    owner: str
    device: str
    spec: JobSpec
    resume: tuple[Checkpoint, ...]
    """The checkpoints, newest first; empty if nothing was saved."""
    time_left_s: float | None
    """The remaining seconds of the job's time limit, over all its attempts."""
    hosts: tuple[HostRecord, ...] = ()
    """The hosts by seat, the leader's first; empty if there are no others."""
    mates: tuple[Lease, ...] = ()
    """The leases of the jobs that this worker trains with it as one pack."""
    request: str | None = None
    """The request that submitted the job."""
    trace: str | None = None
    """The `traceparent` of the request that submitted the job."""
    wait: Wait | None = None


@dataclass(frozen=True)
class Renewal:
    """The lease was renewed; the owner may have requested cancellation."""

    cancel_requested: bool


_TAKEN = text("""
    select j.attempt, j.owner, j.spec, j.request, j.trace, j.time_limit_s - j.ran_s as time_left_s,
        extract(epoch from coalesce(a.ended_at, j.created_at))::float8 as since_s,
        extract(epoch from clock_timestamp())::float8 as until_s,
        case a.outcome when 'lost' then extract(epoch from a.started_at)::float8 end as lost_since_s
    from job j left join attempt a on a.job = j.id and a.number = j.attempt where j.id = :job
""")
# Another claim that has locked this row writes the same time, so there is no need to wait for it.
_SERVE = text("""
    update turn set served_at = clock_timestamp() where (device, owner) in (
        select device, owner from turn where device = :device and owner = :owner
        for no key update skip locked)
""")
# In the pack of the attempt before, if that pack was given back: this job claims its mates.
_BEGIN_ATTEMPT = text("""
    insert into attempt (job, number, worker, hosts, pack)
    values (:job, :attempt, :worker, cast(:hosts as jsonb), (
        select pack from attempt
        where job = :job and number = :attempt - 1 and outcome = 'released'
    ))
""")
_CHECKPOINTS = text(
    "select step, path, sha256, bytes from artifact"
    " where job = :job and kind = 'checkpoint' order by attempt desc, step desc"
)
_RENEW = text("""
    update job set lease_until = clock_timestamp() + make_interval(secs => :lease_s)
    where id = :job and attempt = :attempt and state = 'running' returning cancel_requested
""")
_HOLD = "select 1 from job where id = %s and attempt = %s and state = 'running' for no key update"
_END_ATTEMPT = text(f"""
    with ended as (
        update attempt set ended_at = least(clock_timestamp(), cast(:no_later as timestamptz)),
            outcome = :outcome, failure_kind = :failure_kind, message = :message
        where job = :job and number = :attempt and ended_at is null
        returning ended_at - started_at as ran, job, started_at, ended_at, environment,
            (select device from job where id = :job) as device
    ), freed as (
        delete from seat where job = :job
    ), counted as ({tallies.ATTEMPT.format(source="ended")}
    ), spent as ({consumption.SPEND.format(source="ended")})
    update job set ran_s = ran_s + greatest(0, extract(epoch from ended.ran))
    from ended where id = :job
""")
_LEFT = text("""
    select attempt - forgiven < max_attempts as again, attempt - forgiven as used, cancel_requested
    from job where id = :job
""")


def claim(
    database: Database,
    device: str,
    worker: str,
    lease_s: float,
    most_replicas: int | None = None,
    ability: Ability | None = None,
) -> Lease | None:
    """
    Claim the next job for *device*, or None: by priority, then fairly by owner, then by age.

    Jobs with more than *most_replicas*, and jobs with plugins that the worker cannot load, are left
    for other workers or for later; jobs on several hosts are left for `seats.claim`. A job whose
    stored specification is no longer valid fails, and the next job is claimed.
    """
    room: dict[str, Any] = {"device": device, "most_replicas": most_replicas, "most_hosts": 1}

    def find(unloadable: Sequence[str]) -> Lease | Unjudged | None:
        with database.begin() as connection:

            def accept(job: Any) -> Lease | None:
                return take(connection, job.id, device, worker, lease_s)

            return in_turn(connection, {**room, "unloadable": [*unloadable]}, ability, accept)

    return judging(ability, find)


def take(
    connection: Connection,
    job: UUID,
    device: str,
    worker: str,
    lease_s: float,
    hosts: Sequence[HostRecord] = (),
) -> Lease | None:
    """Begin an attempt at *job*, locked and queued; None: it failed, being unreadable."""
    row = connection.execute(_TAKEN, {"job": job}).one()
    attempt = row.attempt + 1
    now = func.clock_timestamp()
    changes = {
        "attempt": attempt,
        "worker": worker,
        "lease_until": now + timedelta(seconds=lease_s),
        "not_before": None,
        "started_at": func.coalesce(schema.job.c.started_at, now),
    }
    states.move(connection, job, ["queued"], "running", changes=changes, payload={"worker": worker})
    named = events.to_json([host.model_dump() for host in hosts])
    begun = {"job": job, "attempt": attempt, "worker": worker, "hosts": named}
    connection.execute(_BEGIN_ATTEMPT, begun)
    connection.execute(_SERVE, {"device": device, "owner": row.owner})
    try:
        spec = JobSpec.from_store(row.spec)
    except ValueError as e:
        end(connection, job, attempt, _unreadable(e))
        return None
    resume = connection.execute(_CHECKPOINTS, {"job": job}).all() if attempt > 1 else []
    return Lease(
        job=job,
        attempt=attempt,
        worker=worker,
        owner=row.owner,
        device=device,
        spec=spec,
        resume=tuple(Checkpoint(c.step, c.path, c.sha256, c.bytes) for c in resume),
        time_left_s=row.time_left_s,
        hosts=tuple(hosts),
        request=row.request,
        trace=row.trace,
        wait=Wait(row.since_s, row.until_s, row.lost_since_s),
    )


def _unreadable(error: ValueError) -> Failed:
    return Failed(
        code=InvalidSpec.code,
        failure_kind="user",
        retryable=False,
        message=f"the stored specification breaks a rule of this version: {error}"[:1000],
    )


def renew(database: Database, lease: Lease, lease_s: float) -> Renewal | None:
    """Renew *lease* for another *lease_s*, even if it has expired; None: the job was taken away."""
    values = {"job": lease.job, "attempt": lease.attempt, "lease_s": lease_s}
    with database.begin() as connection:
        row = connection.execute(_RENEW, values).first()
    return None if row is None else Renewal(cancel_requested=row.cancel_requested)


def hold(connection: Connection, lease: Lease) -> bool:
    """Lock the job for this transaction; False, and nothing may be written, if *lease* is over."""
    held = cursor_of(connection).execute(_HOLD, (lease.job, lease.attempt))
    return held.fetchone() is not None


def finish(database: Database, lease: Lease, finished: Finished) -> bool:
    """End the job as succeeded; False if *lease* is over."""
    with database.begin() as connection:
        if not hold(connection, lease):
            return False
        changes = {"step": finished.step, "summary": finished.summary, "error": None}
        _end_attempt(connection, lease.job, lease.attempt, "succeeded")
        return states.move(
            connection, lease.job, ["running"], "succeeded", attempt=lease.attempt, changes=changes
        )


def fail(database: Database, lease: Lease, failed: Failed, backoff_s: float = 0.0) -> bool:
    """
    End the attempt: queue the job again if that may help, otherwise mark it failed or cancelled.

    Returns False if *lease* is over.

    Args:
        backoff_s: the pause before the second attempt; it doubles with each further attempt.
    """
    with database.begin() as connection:
        if not hold(connection, lease):
            return False
        return end(connection, lease.job, lease.attempt, failed, backoff_s)


def release(
    database: Database,
    lease: Lease,
    message: str = "its worker is leaving",
    pack_limit: int | None = None,
) -> bool:
    """
    Give the job back to the queue; the attempt does not count. False if *lease* is over.

    Args:
        pack_limit: the most members that a pack with this job may have from now on, because its
            pack failed; with 1, or if its limit was no higher before, it runs alone.
    """
    with database.begin() as connection:
        if not hold(connection, lease):
            return False
        job, attempt = lease.job, lease.attempt
        return give_back(connection, job, attempt, message, pack_limit=pack_limit)


def give_back(
    connection: Connection,
    job: UUID,
    attempt: int,
    message: str,
    no_later: Any = None,
    pack_limit: int | None = None,
) -> bool:
    """
    Give *job*, locked and running at *attempt*, back to the queue; the attempt does not count.

    Args:
        no_later: when the attempt ended, if it was before now.
        pack_limit: as in `release`.
    """
    _end_attempt(connection, job, attempt, "released", message=message, no_later=no_later)
    cancel = connection.execute(_LEFT, {"job": job}).one().cancel_requested
    changes: dict[str, Any] = {"worker": None, "lease_until": None}
    if not cancel:
        changes["forgiven"] = schema.job.c.forgiven + 1
    if pack_limit is not None:  # the limit only falls
        had = schema.job.c.pack_limit
        changes["pack_limit"] = case((had <= pack_limit, 1), else_=pack_limit)
    return states.move(
        connection,
        job,
        ["running"],
        "cancelled" if cancel else "queued",
        attempt=attempt,
        changes=changes,
        payload={"cause": "released", "message": message},
    )


def end(
    connection: Connection,
    job: UUID,
    attempt: int,
    failed: Failed,
    backoff_s: float = 0.0,
    no_later: Any = None,
) -> bool:
    """
    End the attempt of *job*, locked and running at it, as `fail` does.

    Args:
        no_later: when the attempt ended, if it was before now.
    """
    left = connection.execute(_LEFT, {"job": job}).one()
    message = failed.message.replace("\0", "\ufffd")  # PostgreSQL's text cannot contain NUL
    error = {"code": failed.code, "failure_kind": failed.failure_kind, "message": message}
    changes: dict[str, Any] = {"lease_until": None}
    to: JobState = "failed"
    if left.cancel_requested or failed.failure_kind == "cancelled":
        to = "cancelled"
    elif failed.retryable and left.again:
        to = "queued"
        pause = timedelta(seconds=min(backoff_s * 2 ** (left.used - 1), 300.0))
        changes |= {"worker": None, "not_before": func.clock_timestamp() + pause}
    else:
        changes["error"] = error
    outcome = "lost" if failed.failure_kind == "lost" else "failed" if to == "queued" else to
    _end_attempt(connection, job, attempt, outcome, failed.failure_kind, message, no_later)
    payload = {"cause": outcome, **error}
    return states.move(
        connection, job, ["running"], to, attempt=attempt, changes=changes, payload=payload
    )


def _end_attempt(
    connection: Connection,
    job: UUID,
    attempt: int,
    outcome: str,
    failure_kind: str | None = None,
    message: str | None = None,
    no_later: Any = None,
) -> None:
    values = {"job": job, "attempt": attempt, "outcome": outcome, "no_later": no_later}
    values |= {"failure_kind": failure_kind, "message": message}
    connection.execute(_END_ATTEMPT, values)
    consumption.recount(connection, job)
