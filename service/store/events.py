"""The ordered events of jobs, and the notification that wakes their watchers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from normlab.not_finite import FIELD, Places, taken_out
from normlab.records import EventRecord
from service.store.database import Database, cursor_of
from service.store.identity import parse_id
from service.store.sight import IN_SIGHT, Sight

CHANNEL = "normlab_events"
_MERELY_NEWS = "~"  # a prefix of the job id: there are new metrics or a new log, but no event

_RECORD = text("""
    with told as (
        insert into event (job, kind, payload)
        values (:job, :kind, cast(:payload as jsonb)) returning job
    )
    select pg_notify(:channel, job::text) from told
""")
NOTIFY = "select pg_notify(%s, %s)"
"""Takes `news`; for the driver's own cursor."""

_SINCE = text(
    "select seq, job, kind, at, payload from event"
    " where job = :job and seq > :seq order by seq limit :limit"
)
# Another transaction may commit a lower number later: stop before any open transaction.
_SINCE_ALL = text(f"""
    select e.seq, e.job, e.kind, e.at, e.payload, {IN_SIGHT.format(project="j.project")} as seen
    from event e join job j on j.id = e.job
    where e.seq > :seq and e.writer < txid_snapshot_xmin(txid_current_snapshot())
    order by e.seq limit :limit
""")
_LATEST = text(
    "select coalesce(max(seq), 0) from event"
    " where writer < txid_snapshot_xmin(txid_current_snapshot())"
)


def record(
    connection: Connection, job: UUID, kind: str, payload: Mapping[str, Any] | None = None
) -> None:
    """Record that *kind* happened to *job*, in the transaction that made it happen."""
    values = {"job": job, "kind": kind, "payload": to_json(payload or {}), "channel": CHANNEL}
    connection.execute(_RECORD, values)


def to_json(value: Any) -> str:
    """
    Encode JSON for PostgreSQL: numpy's numbers too.

    NaN and infinity become null, and the field `not_finite` of the object says which of them each
    was.
    """
    named: Places = {}
    value = taken_out(value, named)
    if isinstance(value, dict) and named:
        value[FIELD] = named
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def notify(connection: Connection, job: UUID) -> None:
    """Notify the watchers of *job* of news without an event, when this transaction commits."""
    cursor_of(connection).execute(NOTIFY, news(job))


def news(job: UUID) -> tuple[str, str]:
    """Return the payload of NOTIFY for news of *job*."""
    return CHANNEL, f"{_MERELY_NEWS}{job}"


def heard(notification: str) -> tuple[str, bool]:
    """Return the job of a notification, and whether it has a new event."""
    job = notification.removeprefix(_MERELY_NEWS)
    return job, job == notification


@dataclass(frozen=True)
class EventPage:
    """
    Those events of all jobs that are in sight.

    Args:
        read: how many were read, whether or not they are in sight.
        last: the number after which to continue.
    """

    events: list[EventRecord]
    read: int
    last: int


def since(database: Database, job: str, seq: int = 0, limit: int = 1000) -> list[EventRecord]:
    """Return the events of *job* after number *seq*."""
    values: dict[str, Any] = {"seq": seq, "limit": limit, "job": parse_id(job)}
    with database.autocommit() as connection:
        return [_record(row) for row in connection.execute(_SINCE, values).mappings()]


def since_of_all(database: Database, sight: Sight, seq: int = 0, limit: int = 1000) -> EventPage:
    """Return those of the next *limit* events after number *seq* that are in *sight*."""
    values = {"seq": seq, "limit": limit, **sight.values}
    with database.autocommit() as connection:
        rows = connection.execute(_SINCE_ALL, values).mappings().all()
    seen = [_record(row) for row in rows if row["seen"]]
    return EventPage(seen, len(rows), rows[-1]["seq"] if rows else seq)


def latest(database: Database) -> int:
    """Return the number after which `since` finds only future events of all jobs."""
    with database.autocommit() as connection:
        return int(connection.execute(_LATEST).scalar_one())


def _record(row: Mapping[Any, Any]) -> EventRecord:
    return EventRecord.model_validate({**row, "job": str(row["job"])})
