"""Take jobs from silent workers; after an outage, first let workers renew their leases."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import structlog
from sqlalchemy import text

from normlab.errors import ServiceUnavailable
from service.jobs import leases
from service.one_by_one import OneByOne
from service.store.database import Database

_UP_FOR = text("select extract(epoch from clock_timestamp() - pg_postmaster_start_time())")
_log = structlog.get_logger(__name__)


class Reaper:
    """
    Reaps expired leases, but only after the database was reachable for a whole lease period.

    Workers cannot renew their leases during a database outage. So right after the outage, all
    leases look expired although the jobs are fine. Any number of reapers may run. A job that cannot
    be taken from its worker does not block the others.

    Args:
        failed: called for each job that could not be taken.
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
        reap_one = partial(leases.reap_one, database)
        self._jobs = OneByOne("expired leases", reap_one, lambda *_: failed())

    def round(self) -> int:
        """
        Reap once; return the number of jobs taken from their workers.

        Raises:
            ServiceUnavailable: if the database is unavailable; the grace period then starts again.
        """
        try:
            if self._waits():
                return 0
            reaped = self._jobs.round(leases.expired(self._database))
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
