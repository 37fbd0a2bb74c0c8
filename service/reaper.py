"""Take jobs from workers that fell silent; but first let everybody find the database again."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from sqlalchemy import text

from normlab.errors import ServiceUnavailable
from service import leases
from service.database import Database

_UP_FOR = text("select extract(epoch from clock_timestamp() - pg_postmaster_start_time())")
_log = structlog.get_logger(__name__)


class Reaper:
    """
    Reaps expired leases, but only after a whole lease in which the database could be reached.

    Workers cannot renew their leases while the database is away, so right after it is back all
    leases look expired although the jobs are well. Any number of reapers may run.
    """

    def __init__(
        self, database: Database, lease_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._lease_s = lease_s
        self._clock = clock
        self._connected_at: float | None = None

    def round(self) -> int:
        """
        Reap once; return how many jobs were taken from their workers.

        Raises:
            ServiceUnavailable: if the database is away; the grace begins anew when it is back.
        """
        try:
            if self._waits():
                return 0
            reaped = leases.reap(self._database)
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
        # The server may have restarted between two rounds without our noticing.
        return min(now - self._connected_at, up_for) < self._lease_s
