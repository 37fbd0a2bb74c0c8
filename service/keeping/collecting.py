"""Go through the ended jobs of a project, and discard the files that its rules no longer keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, text

from normlab.errors import NotFound
from normlab.records.keeping import ExpiredPage, ExpiredRecord, Goal, KeepRules
from service.jobs import consumption
from service.keeping import rules as keep_rules
from service.keeping.expiring import EndedJob, Expired, File, expired, first_days
from service.keeping.needs import Needs, needs_now
from service.results import metrics
from service.store import audit
from service.store.audit import Actor
from service.store.cursors import decode_cursor, encode_cursor
from service.store.database import Database

JOBS_AT_ONCE = 200
_ORDER = "ended"
_ENDED = "state in ('succeeded', 'failed', 'cancelled') and trashed_at is null"
_JOBS = text(f"""
    select id, fingerprint, finished_at,
        extract(epoch from clock_timestamp() - finished_at)::float8 / 86400 as ended_days,
        (select coalesce(sum(size), 0)::bigint from log_segment s
            where s.job = job.id and s.attempt > 0) as log_bytes
    from job where project = :project and {_ENDED}
        and finished_at <= clock_timestamp() - make_interval(days => :days)
        and (cast(:since as timestamptz) is null or (finished_at, id) > (:since, :after))
    order by finished_at, id limit :limit
""")
_FILES = text("""
    select job, name, kind, attempt, path, sha256, bytes, step from artifact
    where job = any(:jobs) and kind in ('checkpoint', 'weights', 'log')
""")
# Another collector may hold it, or somebody may have retried or deleted it
_LOCK = text(f"select 1 from job where id = :job and {_ENDED} for update skip locked")
_DISCARD = text("""
    with gone as (
        delete from artifact where job = :job and path = any(:paths)
        returning job, path, name, kind, attempt, sha256, bytes, step, created_at
    )
    insert into discarded (job, path, name, kind, attempt, sha256, bytes, step, created_at)
    select * from gone
    on conflict (job, path) do update set discarded_at = excluded.discarded_at, freed_at = null
""")
_DROP_LOG = text("delete from log_segment where job = :job")
_SAY_SO = text("""
    insert into log_segment (job, position, attempt, start, size, data)
    values (:job, 0, 0, 0, octet_length(cast(:note as bytea)), :note)
""")
_OTHERWISE: tuple[str, Goal] = ("val/loss", "minimize")  # without the metric of the rules
_NOTE = b"[normlab] the log was removed by the keep-rules of the project\n"


class JobPosition(NamedTuple):
    """The last job that was looked at."""

    finished_at: datetime
    job: UUID


class ExpiredSlice(NamedTuple):
    """The expired files of some jobs, and where the next jobs begin."""

    expired: list[tuple[EndedJob, list[Expired]]]
    place: JobPosition | None
    """None: there are no more."""


def page(
    database: Database,
    project: str,
    cursor: str | None = None,
    *,
    remove: bool = False,
    by: Actor | None = None,
    patience_s: float = 0.5,
    clock: Callable[[], float] = time.monotonic,
) -> ExpiredPage:
    """
    List the files that the rules of *project* no longer keep, of the jobs after *cursor*.

    Args:
        remove: discard them too; they are deleted minutes later.
        by: the actor for the audit trail.
        patience_s: how long to continue past jobs whose files are all kept.

    Raises:
        NotFound: there is no such project.
        InvalidSpec: *cursor* is not from this list.
    """
    rules = keep_rules.read(database, project)
    place = (
        None if cursor is None else JobPosition(*decode_cursor(cursor, _ORDER, (datetime, UUID)))
    )
    until = clock() + patience_s
    while True:
        found = some(database, rules, place, remove=remove, by=by)
        place = found.place
        if place is None or found.expired or clock() >= until:
            break
    return ExpiredPage(
        project=project,
        expired=[_record(job, one) for job, of in found.expired for one in of],
        next_cursor=None if place is None else encode_cursor(_ORDER, place),
    )


def some(
    database: Database,
    rules: KeepRules,
    after: JobPosition | None,
    *,
    remove: bool = True,
    by: Actor | None = None,
) -> ExpiredSlice:
    """Look at the next jobs of a project after *after*, and remove what is expired."""
    days = first_days(rules)
    if days is None:
        return ExpiredSlice([], None)
    with database.autocommit() as connection:
        rows = _next_jobs(connection, rules.project, days, after)
        files = _files_of(connection, [row.id for row in rows])
        needs = needs_now(connection) if files else None
    found = []
    for row in rows:
        job = EndedJob(row.id, row.fingerprint, row.ended_days, row.log_bytes)
        best = partial(best_step, database, str(job.id), rules)
        gone = _spare(expired(rules, job, files.get(job.id, ()), best), needs, job)
        if gone and (not remove or _remove(database, job.id, gone, by)):
            found.append((job, gone))
    more = len(rows) == JOBS_AT_ONCE
    return ExpiredSlice(found, JobPosition(rows[-1].finished_at, rows[-1].id) if more else None)


def _next_jobs(
    connection: Connection, project: str, days: int, after: JobPosition | None
) -> Sequence[Any]:
    values = {"project": project, "days": days, "limit": JOBS_AT_ONCE}
    since, job = after or (None, None)
    return connection.execute(_JOBS, {**values, "since": since, "after": job}).all()


def _files_of(connection: Connection, jobs: Sequence[UUID]) -> dict[UUID, list[File]]:
    found: dict[UUID, list[File]] = {}
    for row in connection.execute(_FILES, {"jobs": list(jobs)}):
        found.setdefault(row.job, []).append(File(*row))
    return found


def _spare(gone: list[Expired], needs: Needs | None, job: EndedJob) -> list[Expired]:
    """Leave out what other jobs need."""
    if needs is None:
        return gone
    spared = [
        Expired(one.kind, [f for f in one.files if not needs.keep(f, job)], one.log_bytes)
        for one in gone
    ]
    return [one for one in spared if one.files or one.log_bytes]


def _remove(database: Database, job: UUID, gone: Sequence[Expired], by: Actor | None) -> bool:
    paths = [file.path for one in gone for file in one.files]
    with database.begin() as connection:
        if connection.execute(_LOCK, {"job": job}).first() is None:
            return False
        connection.execute(_DISCARD, {"job": job, "paths": paths})
        if any(one.kind == "log" for one in gone):
            connection.execute(_DROP_LOG, {"job": job})
            connection.execute(_SAY_SO, {"job": job, "note": _NOTE})
        consumption.recount(connection, job)
        audit.write(connection, by, "job.expire", job, kinds=[one.kind for one in gone])
    return True


def _record(job: EndedJob, one: Expired) -> ExpiredRecord:
    names = [file.name for file in one.files]
    return ExpiredRecord(job=str(job.id), kind=one.kind, files=names, bytes=one.bytes)


def best_step(database: Database, job: str, rules: KeepRules, steps: Sequence[int]) -> int | None:
    """
    Return the update of *steps* with the best value; the newest one of several that are equal.

    A checkpoint's value is the last that was reported up to its update. Where a job has not
    reported the metric of the rules, that is the smallest `val/loss`.

    Returns:
        None: neither has been reported up to any of *steps*.
    """
    for name, goal in ((rules.best_by, rules.goal), _OTHERWISE):
        try:
            found = metrics.read_arrays(database, job, name)
        except NotFound:
            continue
        sign = 1.0 if goal == "maximize" else -1.0
        valued = [
            (sign * float(found["values"][at - 1]), step)
            for step, at in zip(steps, np.searchsorted(found["steps"], steps, side="right"))
            if at > 0 and np.isfinite(found["values"][at - 1])
        ]
        if valued:
            return max(valued)[1]
    return None
