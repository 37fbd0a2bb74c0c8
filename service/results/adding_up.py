"""Add up curves that an earlier version stored, so that they also have a mean."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from sqlalchemy import text

from service.one_by_one import OneByOne
from service.results.metrics import read_points
from service.store.database import Database, cursor_of

_JOBS_A_ROUND = 50
_LACKING = text("""
    select distinct job from (
        select job from metric_last where points is null order by job, key limit :limit
    ) as lacking
""")
# What a running attempt writes at the same time is added up in a later round
_LOCK = (
    "select key from metric_last where job = %s and points is null"
    " order by key for update skip locked"
)
_KEEP = "update metric_last set total = %s, points = %s where job = %s and key = %s"


class AddingUp:
    """
    Fills in sums and counts of points, some jobs in each round; any number may run.

    Args:
        failed: called for each job whose curves could not be read.
    """

    def __init__(self, database: Database, failed: Callable[[], object] = lambda: None) -> None:
        self._database = database
        self._jobs = OneByOne("curves to add up", self._add_up, lambda *_: failed())

    def round(self) -> int:
        """Add up the curves of some jobs; return how many curves there were."""
        with self._database.autocommit() as connection:
            jobs = connection.execute(_LACKING, {"limit": _JOBS_A_ROUND}).scalars().all()
        return self._jobs.round(jobs)

    def _add_up(self, job: UUID) -> int:
        with self._database.begin() as connection:
            cursor = cursor_of(connection)
            keys = [key for (key,) in cursor.execute(_LOCK, (job,)).fetchall()]
            for key in keys:
                points = read_points(cursor, job, key)
                total = float(points.values.sum())
                cursor.execute(_KEEP, (total, len(points), job, key))
        return len(keys)
