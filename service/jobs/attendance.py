"""How the hosts of a running attempt find each other and notice that one has left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from normlab.events import Failed
from normlab.records import HostRecord
from service.jobs import leases
from service.jobs.leases import Lease
from service.jobs.seats import Seat
from service.store.database import Database

_OPEN = text("update attempt set meeting = :endpoint where job = :job and number = :attempt")
_RENEW = text("""
    update seat set live_until = clock_timestamp() + make_interval(secs => :lease_s),
        leaving = :leaving
    from job j join attempt a on a.job = j.id
    where seat.id = :seat and seat.job = j.id and j.state = 'running'
        and j.attempt = seat.attempt and a.number = seat.attempt
    returning a.meeting
""")
_END = text("update seat set ended = cast(:word as jsonb) where id = :seat")
_OTHERS = text("""
    select number, leaving, ended, live_until < clock_timestamp() as silent
    from seat where job = :job and attempt = :attempt
""")


@dataclass(frozen=True)
class Attendance:
    """The member still has its seat; *endpoint*: where the hosts meet, once it is open."""

    endpoint: str | None


@dataclass(frozen=True)
class Other:
    """Another host of an attempt, as its leader sees it."""

    host: HostRecord
    leaving: bool
    silent: bool
    failed: Failed | None
    """The failure that its job process reported last."""


def open_meeting(database: Database, lease: Lease, endpoint: str) -> bool:
    """Tell the other hosts where they meet; False if *lease* is over."""
    with database.begin() as connection:
        if not leases.hold(connection, lease):
            return False
        values = {"job": lease.job, "attempt": lease.attempt, "endpoint": endpoint}
        connection.execute(_OPEN, values)
    return True


def attend(
    database: Database, seat: Seat, lease_s: float, leaving: bool = False
) -> Attendance | None:
    """
    Keep *seat* for another *lease_s*; None: its attempt is over.

    Args:
        leaving: ask the leader to let the job write a checkpoint and go back to the queue.
    """
    values = {"seat": seat.id, "lease_s": lease_s, "leaving": leaving}
    with database.begin() as connection:
        row = connection.execute(_RENEW, values).first()
    return None if row is None else Attendance(row.meeting)


def end(database: Database, seat: Seat, failed: Failed) -> None:
    """Record the last report of the job process on this host, for the leader."""
    with database.begin() as connection:
        connection.execute(_END, {"seat": seat.id, "word": failed.model_dump_json()})


def others(database: Database, lease: Lease) -> list[Other]:
    """Return the other hosts of an attempt; one that has given up its seat is silent."""
    with database.begin() as connection:
        rows = connection.execute(_OTHERS, {"job": lease.job, "attempt": lease.attempt}).all()
    by_number = {row.number: row for row in rows}
    return [
        _other(host, by_number.get(number)) for number, host in enumerate(lease.hosts[1:], start=1)
    ]


def _other(host: HostRecord, row: Any) -> Other:
    if row is None:
        return Other(host, leaving=False, silent=True, failed=None)
    failed = None if row.ended is None else Failed.model_validate(row.ended)
    return Other(host, row.leaving, row.silent, failed)
