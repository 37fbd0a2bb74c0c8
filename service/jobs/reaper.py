"""Take jobs from silent workers; after an outage, first let workers renew their leases."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy import text

from normlab.errors import ServiceUnavailable
from normlab.events import Failed
from service.jobs import leases
from service.one_by_one import OneByOne
from service.store.database import Database

_UP_FOR = text("select extract(epoch from clock_timestamp() - pg_postmaster_start_time())")
# A worker that is frozen inside a transaction holds its job's row for as long as it is frozen.
# It may have been frozen in the middle of a message, where no server timeout applies.
_CUT_OFF = text("""
    select pg_terminate_backend(a.pid, 1000)
    from job j join pg_stat_activity a on a.application_name = left(j.worker, 63)
    where j.state = 'running' and j.lease_until < clock_timestamp()
        and a.xact_start < clock_timestamp() - interval '1 second'
""")
_EXPIRED = text("""
    select id from job where state = 'running' and lease_until < clock_timestamp()
    order by lease_until
""")
_EXPIRED_STILL = text("""
    select id, attempt, worker, lease_until from job
    where id = :job and state = 'running' and lease_until < clock_timestamp()
    for update skip locked
""")
_log = structlog.get_logger(__name__)


class Reaper:
    """
    Reaps expired leases, but only after the database was reachable for a whole lease period.

    Workers cannot renew their leases during a database outage. So right after the outage, all
    leases look expired although the jobs are fine. Any number of reapers may run. A job that cannot
    be taken from its worker does not block the others.

    Args:
        failed: called for each job that could not be taken from its worker.
    """

    def __init__(
        self,
        database: Database,
        lease_s: float,
        clock: Callable[[], float] = time.monotonic,
        failed: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._lease_s = lease_s
        self._clock = clock
        self._connected_at: float | None = None
        self._jobs = OneByOne("expired leases", partial(reap_one, database), lambda *_: failed())

    def round(self) -> int:
        """
        Reap once; return the number of jobs taken from their workers.

        Raises:
            ServiceUnavailable: if the database is unavailable; the grace period then starts again.
        """
        try:
            if self._waits():
                return 0
            reaped = self._jobs.round(expired(self._database))
        except ServiceUnavailable:
            self._connected_at = None
            raise
        if reaped:
            _log.warning("leases_expired", jobs=reaped)
        return reaped

    def _waits(self) -> bool:
        with self._database.begin() as connection:
            up_for = float(connection.execute(_UP_FOR).scalar_one())
        now = self._clock()
        if self._connected_at is None:
            self._connected_at = now
        # The server may have restarted between two rounds unnoticed.
        return min(now - self._connected_at, up_for) < self._lease_s


def expired(database: Database) -> list[UUID]:
    """End sessions of lost workers that hold a job's row, and list jobs with expired leases."""
    with database.begin() as connection:
        connection.execute(_CUT_OFF)
        return list(connection.execute(_EXPIRED).scalars())


def reap_one(database: Database, job: UUID) -> int:
    """Take *job* from its worker if its lease has expired; return 1 if so, else 0."""
    with database.begin() as connection:
        row = connection.execute(_EXPIRED_STILL, {"job": job}).first()
        if row is None:
            return 0
        lost = Failed(
            code="worker_lost",
            failure_kind="lost",
            retryable=True,
            message=f"worker {row.worker} fell silent during attempt {row.attempt}",
        )
        leases.end(connection, row.id, row.attempt, lost, no_later=row.lease_until)
    return 1
