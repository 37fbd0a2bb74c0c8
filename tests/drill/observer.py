"""The drill's view of the jobs, directly from the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import text

from normlab.errors import ServiceUnavailable
from service.store.database import Database

T = TypeVar("T")

_RUNNING = text("select id, attempt, worker from job where state = 'running' order by id")
_PACKS = text("""
    select job.id, job.attempt, job.worker, job.state,
        job.state = 'running' and attempt.pack is not null as packed
    from job left join attempt on attempt.job = job.id and attempt.number = job.attempt
    where job.id = any(cast(:jobs as uuid[])) order by job.id
""")
_STARTS_WITHIN_S = 300.0  # for jobs that may have to wait for a worker that was just started
_UNENDED = text("select count(*) from job where state in ('queued', 'running')")
_OVER = text("""
    select count(*) from job
    where id = :job and (state <> 'running' or attempt > :attempt)
""")
_POINTS = text("""
    select coalesce(sum(n), 0) from metric_chunk where job = :job and attempt = :attempt
""")
_STATE = text("select state, attempt from job where id = :job")
_UNRENEWED = text("""
    select count(*) from job where state = 'running' and lease_until < clock_timestamp()
""")


@dataclass(frozen=True)
class Running:
    """An attempt that was running."""

    job: str
    attempt: int
    worker: str


class Observer:
    """Query the database; repeat while it is unreachable."""

    def __init__(self, database_url: str) -> None:
        self.database = Database(database_url)

    def running(self) -> list[Running]:
        """Return the running attempts."""
        return [Running(str(r.id), r.attempt, r.worker) for r in self._rows(_RUNNING)]

    def until_packed(self, jobs: list[str]) -> list[Running]:
        """
        Wait until some of *jobs* are trained as one pack, and return their attempts.

        None, if all of them were begun and no pack is left: slots that claim at the same moment
        share the cells of a study, and a pack may end between two looks.
        """
        rows: list[Any] = []

        def look() -> bool:
            rows[:] = self._rows(_PACKS, {"jobs": jobs})
            return any(row.packed for row in rows) or all(row.attempt for row in rows)

        if self.until(look, _STARTS_WITHIN_S) is None:
            states = [(str(row.id), row.state, row.attempt) for row in rows]
            raise RuntimeError(f"no worker began these within {_STARTS_WITHIN_S:g} s: {states}")
        return [Running(str(row.id), row.attempt, row.worker) for row in rows if row.packed]

    def unended(self) -> int:
        """Count the jobs that have not ended."""
        return int(self._rows(_UNENDED)[0][0])

    def is_over(self, attempt: Running) -> bool:
        """Return whether *attempt* no longer has its job."""
        values = {"job": attempt.job, "attempt": attempt.attempt}
        return bool(self._rows(_OVER, values)[0][0])

    def points(self, attempt: Running) -> int:
        """Count the metric points that *attempt* has stored."""
        values = {"job": attempt.job, "attempt": attempt.attempt}
        return int(self._rows(_POINTS, values)[0][0])

    def state(self, job: str) -> tuple[str, int]:
        """Return the state and the attempt of a job."""
        row = self._rows(_STATE, {"job": job})[0]
        return row.state, row.attempt

    def leases_hold(self) -> bool:
        """Return whether the leases of all running jobs are in the future."""
        return not self._rows(_UNRENEWED)[0][0]

    def until(self, seen: Callable[[], bool], timeout_s: float = 60.0) -> float | None:
        """Wait until *seen*; return the seconds, or None if it took too long."""
        began = time.monotonic()
        while not seen():
            if time.monotonic() - began > timeout_s:
                return None
            time.sleep(0.02)
        return time.monotonic() - began

    def until_running(self, among: Callable[[Running], bool] = lambda _: True) -> list[Running]:
        """Wait until an attempt is running, and return all running ones."""
        found: list[Running] = []

        def look() -> bool:
            found[:] = [r for r in self.running() if among(r)]
            return bool(found)

        if self.until(look, 120) is None:
            raise RuntimeError("no job runs any more")
        return found

    def until_over(self, attempts: Iterable[Running]) -> float | None:
        """Wait until none of *attempts* has its job; return the seconds."""
        rest = list(attempts)

        def look() -> bool:
            rest[:] = [a for a in rest if not self.is_over(a)]
            return not rest

        return self.until(look)

    def _rows(self, query: Any, values: dict[str, Any] | None = None) -> list[Any]:
        while True:
            try:
                with self.database.begin() as connection:
                    return list(connection.execute(query, values or {}).all())
            except ServiceUnavailable:
                time.sleep(0.05)
